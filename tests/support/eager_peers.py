"""Receives a port and a number of peers · hands out a report of what they saw · owns peers that send until they are
held back, and note when they are pinged. Run with ``python -m``; SIGTERM ends the sending.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys

from tests.support import frames
from tests.support.raw import head

PADDING = b"p" * 2000


class Peer:
    """Sends numbered messages, as many as the server takes."""

    def __init__(self, over: asyncio.Event) -> None:
        self.over = over
        self.sent = 0
        self.pings: list[float] = []
        self.held_back = 0.0
        self.outcome = ""
        self.is_sending = asyncio.Event()

    async def run(self, port: int) -> None:
        """From its handshake to the server's word that all has come in order."""
        self.loop = asyncio.get_running_loop()
        connected = socket.create_connection(("127.0.0.1", port))
        # Little between the server and this program, so that it is held back soon.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        connected.setblocking(False)
        self.reader, self.writer = await asyncio.open_connection(sock=connected, limit=1 << 20)
        self.writer.transport.set_write_buffer_limits(0)
        self.writer.write(head("/numbers"))
        assert b" 101 " in await self.reader.readuntil(b"\r\n\r\n")
        reading = asyncio.create_task(self._read())
        try:
            await self._send()
            await reading
        except ConnectionError as error:
            self.outcome = f"killed: {error}"
        finally:
            reading.cancel()
            self.writer.close()

    async def _send(self) -> None:
        while not self.over.is_set():
            self._write(PADDING)
            began = self.loop.time()
            await self.writer.drain()
            self.held_back = max(self.held_back, self.loop.time() - began)
            self.is_sending.set()
        self._write(b"last")

    def _write(self, payload: bytes) -> None:
        self.writer.write(frames.frame(frames.BINARY, b"%08d" % self.sent + payload))
        self.sent += 1

    async def _read(self) -> None:
        buffer = bytearray()
        while data := await self.reader.read(65_536):
            buffer += data
            while (found := frames.parse(buffer)) is not None:
                frame, size = found
                del buffer[:size]
                if frame.opcode == frames.PING:
                    self.pings.append(self.loop.time())
                    self.writer.write(frames.frame(frames.PONG, frame.payload))
                elif frame.opcode == frames.TEXT:
                    self.outcome = (
                        "all" if int(frame.payload) == self.sent else f"{frame.payload!r} of {self.sent}"
                    )
                    return
                else:
                    self.outcome = f"killed: {frame}"
                    return
        self.outcome = "killed: the server ended"

    def latest_ping(self, interval: float) -> float:
        """By how much a ping came off its schedule, at most."""
        gaps = [later - earlier for earlier, later in zip(self.pings, self.pings[1:], strict=False)]
        return max(abs(gap - interval) for gap in gaps)


async def main(port: int, count: int, interval: float) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    peers = [Peer(over) for _ in range(count)]
    running = [asyncio.create_task(peer.run(port)) for peer in peers]
    await asyncio.gather(*(peer.is_sending.wait() for peer in peers))
    print("sending", flush=True)
    await asyncio.gather(*running)
    report = {
        "outcomes": sorted({peer.outcome for peer in peers}),
        "pings": min(len(peer.pings) for peer in peers),
        "off_schedule": max(peer.latest_ping(interval) for peer in peers),
        "held_back": min(peer.held_back for peer in peers),
        "sent": sum(peer.sent for peer in peers),
    }
    print("report", json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
