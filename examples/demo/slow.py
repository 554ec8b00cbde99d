"""Receives how many readers shall stall · opens that many connections that never read · owns their process.

They live in a process of their own, so that what they cost is not measured with the server. It is told the
number on its standard input, reports on its standard output, and ends with either.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import socket
import ssl
import sys
from pathlib import Path

MAX_READERS = 2_000
RECEIVE_BUFFER = 4_096  # bytes; the smaller the kernel's part, the sooner the server's part begins to fill
PATIENCE = 10.0  # seconds for one connection to be opened
LOOKING = 0.5  # seconds between two looks whether the server has cut a connection


class SlowReaders:
    """The process, as the server sees it."""

    def __init__(self, scheme: str, host: str, port: int, path: str) -> None:
        self._address = (scheme, host, str(port), path)
        self._changing = asyncio.Lock()  # two pages may turn the switch at once
        self._process: asyncio.subprocess.Process | None = None
        self._following: asyncio.Task[None] | None = None
        self.wanted = 0
        """How many shall stall."""
        self.stalled = 0
        """How many are connected and do not read."""
        self.cut = 0
        """How often the server has ended one of them; each comes back."""

    async def want(self, readers: int) -> None:
        """Has that many readers stall from now on; none ends the process."""
        async with self._changing:
            if self._process is not None and (readers <= 0 or self._process.returncode is not None):
                await self._end(self._process)
            if readers <= 0:
                return
            if self._process is None:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", __name__, *self._address),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    cwd=Path(__file__).parents[2],
                )
                self._following = asyncio.create_task(self._follow(self._process))
            self.wanted = min(readers, MAX_READERS)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{self.wanted}\n".encode())

    async def stop(self) -> None:
        """Ends the process and with it all its connections."""
        await self.want(0)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        if self._following is not None:
            await self._following
        self._process = self._following = None
        self.wanted = self.stalled = self.cut = 0

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            report = json.loads(line)
            self.stalled, self.cut = report["stalled"], report["cut"]


class Stalling:
    """The inside of the process: a task per connection."""

    def __init__(self, scheme: str, host: str, port: int, path: str) -> None:
        self._host, self._port, self._path = host, port, path
        self._tls: ssl.SSLContext | None = None
        if scheme == "wss":
            # The demo's certificate was made by itself a moment ago; there is nobody to ask.
            self._tls = ssl.create_default_context()
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._readers: list[asyncio.Task[None]] = []
        self.stalled = 0
        self.cut = 0

    def want(self, readers: int) -> None:
        while len(self._readers) > readers:
            self._readers.pop().cancel()
        while len(self._readers) < readers:
            self._readers.append(asyncio.create_task(self._stall()))

    async def _stall(self) -> None:
        while True:
            # OSError: refused or cut; TimeoutError is one too. Either way it comes back, as a browser would.
            with contextlib.suppress(OSError):
                await self._connect_once()
            await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _connect_once(self) -> None:
        # On a thread: where TLS is spoken, shaking hands is no matter of one send and one read.
        with await asyncio.to_thread(self._connection) as connection:
            self.stalled += 1
            try:
                # Nothing is read from here on. A reset shows in SO_ERROR all the same.
                while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # noqa: ASYNC110
                    await asyncio.sleep(LOOKING)
                self.cut += 1
            finally:
                self.stalled -= 1

    def _connection(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM
        )[0]
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            connection.connect(address)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=self._host)
            connection.sendall(self._upgrade())
            if not connection.recv(512).startswith(b"HTTP/1.1 101"):
                raise ConnectionRefusedError("no 101")
        except BaseException:
            connection.close()
            raise
        return connection

    def _upgrade(self) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            f"GET {self._path} HTTP/1.1",
            f"Host: {self._host}:{self._port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        return ("\r\n".join(head) + "\r\n\r\n").encode()


async def main(scheme: str, host: str, port: int, path: str) -> None:
    """Obeys standard input until it ends."""
    stalling = Stalling(scheme, host, port, path)
    loop = asyncio.get_running_loop()
    reporting = asyncio.create_task(report(stalling))
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        stalling.want(int(line))
    reporting.cancel()
    stalling.want(0)


async def report(stalling: Stalling) -> None:
    """Says every half second how it stands."""
    while True:
        print(json.dumps({"stalled": stalling.stalled, "cut": stalling.cut}), flush=True)
        await asyncio.sleep(LOOKING)


if __name__ == "__main__":
    # Ctrl-C in a terminal reaches the whole group; the demo ends this process by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
