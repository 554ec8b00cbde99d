"""Receives the bytes that a test wants to send · hands back what the server answers, and how its socket ends ·
owns one blocking socket. No WebSocket library: none of them can send what is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support import frames
from tests.support.frames import CLOSE, PING, PONG, TEXT, Frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATIENCE = 10.0
"""Seconds after which a peer that hears nothing has found a bug."""

Headers = Iterable[tuple[str, str]]


class Response(NamedTuple):
    """The head of a response and, where it is known, its body."""

    status: int
    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Every header of that name."""
        return [value for other, value in self.headers if other.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """The header of that name, which must not come twice."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None


def upgrade_headers(*more: tuple[str, str], without: str = "", host: str = "localhost") -> Headers:
    """The headers of a valid upgrade, but those named in `without`, and more."""
    pairs = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ]
    left_out = without.lower().split()
    return [pair for pair in pairs if pair[0].lower() not in left_out] + list(more)


def head(
    path: str = "/echo", headers: Headers | None = None, *, method: str = "GET", version: str = "HTTP/1.1"
) -> bytes:
    """A request head; without `headers` a valid upgrade."""
    pairs = upgrade_headers() if headers is None else headers
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class Peer:
    """A client that says exactly what it is told to. Close it, or leave its `with`."""

    def __init__(
        self,
        address: tuple[str, int] | Path,
        *,
        patience: float = PATIENCE,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        source: str | None = None,
    ) -> None:
        family = (
            socket.AF_UNIX
            if isinstance(address, Path)
            else socket.AF_INET6
            if ":" in address[0]
            else socket.AF_INET
        )
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(patience)
        if receive_buffer is not None:
            # Before the connection, or the window has been offered already.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.buffer = bytearray()
        self.agreed: str | None = None
        try:
            if source is not None:
                # Every 127.x.y.z is this machine's, so one machine can be many clients.
                self.socket.bind((source, 0))
            self.socket.connect(str(address) if isinstance(address, Path) else address)
            if family != socket.AF_UNIX:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(
                    self.socket, server_hostname="localhost", suppress_ragged_eofs=False
                )
        except OSError:
            self.socket.close()
            raise

    # Sending.

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def flood(self, data: bytes) -> int:
        """Sends as much of `data` as the server lets through before it resets; the bytes that went out."""
        sent = 0
        view = memoryview(data)
        try:
            while sent < len(data):
                sent += self.socket.send(view[sent : sent + 65_536])
        except OSError:
            # Reset, out of patience, or TLS that has found its transport gone.
            pass
        return sent

    # Receiving.

    def receive(self, most: int) -> bytes:
        """What has come, at most that many bytes; none at the end.

        Raises:
            ConnectionResetError: the end is a reset; over TLS any end without a close_notify, which is what Python's
                TLS makes of a reset.
        """
        try:
            return self.socket.recv(most)
        except ssl.SSLEOFError:
            raise ConnectionResetError("ended without a close_notify") from None

    def _more(self) -> bool:
        data = self.receive(65_536)
        self.buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            assert self._more(), f"the server ended after {bytes(self.buffer)!r}"
        end = self.buffer.index(mark) + len(mark)
        return self.take(end)

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self.buffer) < count:
            assert self._more(), f"the server ended after {bytes(self.buffer)!r}"
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def response_head(self) -> Response:
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, *_ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(": ")
            assert colon, f"no header: {line!r}"
            headers.append((name, value))
        return Response(int(status), lines[0], headers)

    def response(self, *, head_only: bool = False) -> Response:
        """A whole response; nothing may follow it but the end of the connection."""
        found = self.response_head()
        length = found.one("Content-Length")
        assert length is not None, found
        body = b"" if head_only else self.take(int(length))
        assert self.ending() == "FIN"
        return found._replace(body=body)

    def upgrade(self, path: str = "/echo", *more: tuple[str, str]) -> Response:
        """Shakes hands; the server must say yes, and prove that it read our key."""
        self.send(head(path, upgrade_headers(*more)))
        return self.switched()

    def switched(self, agreed: str | None = None) -> Response:
        """The 101, which names the extension that is expected; `None`: none."""
        answer = self.response_head()
        assert answer.line == "HTTP/1.1 101 Switching Protocols", answer
        assert answer.one("Upgrade") == "websocket"
        assert answer.one("Connection") == "Upgrade"
        proof = base64.b64encode(hashlib.sha1(KEY.encode() + GUID).digest()).decode()
        assert answer.one("Sec-WebSocket-Accept") == proof
        assert answer.one("Sec-WebSocket-Extensions") == agreed
        self.agreed = agreed
        return answer

    def any_frame(self) -> Frame:
        """The next frame, pings among them."""
        while (found := frames.parse(self.buffer, may_be_compressed=self.agreed is not None)) is None:
            assert self._more(), f"the server ended after {bytes(self.buffer)!r}"
        one, size = found
        del self.buffer[:size]
        return one

    def frame(self) -> Frame:
        """The next frame that is no ping; pings are answered, but not for ever."""
        deadline = time.monotonic() + PATIENCE
        while (one := self.any_frame()).opcode == PING:
            assert time.monotonic() < deadline, f"nothing but pings in {PATIENCE:g} s"
            self.send(frames.frame(PONG, one.payload))
        return one

    def echo(self, text: str = "echo") -> None:
        """Sends a text and gets it back."""
        self.send(frames.frame(TEXT, text.encode()))
        assert self.frame() == Frame(TEXT, text.encode())

    def closed(self) -> tuple[int | None, str]:
        """Code and reason of the Close frame, which must be the next frame and really come."""
        one = self.frame()
        assert one.opcode == CLOSE, f"wanted a Close frame, got {one}"
        return one.code, one.reason

    def ending(self) -> str:
        """How the connection ends, FIN or RST, with nothing before it."""
        try:
            more = self.receive(65_536)
        except ConnectionResetError:
            return "RST"
        assert not self.buffer, f"unread: {bytes(self.buffer)!r}"
        assert not more, f"expected the end, got {more!r}"
        return "FIN"

    def lost(self) -> None:
        """Waits for a reset; until then nothing but pings may come, and none is answered."""
        try:
            while True:
                assert self.any_frame().opcode == PING
        except ConnectionResetError:
            pass

    def discard(self) -> str:
        """Reads all there is until the connection ends; how it ends."""
        self.buffer.clear()
        try:
            while self.receive(1 << 20):
                pass
        except ConnectionResetError:
            return "RST"
        return "FIN"

    # Ending.

    def reset(self) -> None:
        """Ends with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start
