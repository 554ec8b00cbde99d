"""Receives a port and a number of peers · hands out a report of what they saw · owns peers that send until they are
held back, and note when they are pinged. Run with ``python -m``; SIGUSR1 says that the server stalls, SIGTERM that it
goes on, which ends the sending.
"""

from __future__ import annotations

import asyncio
import itertools
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
        self.loop = asyncio.get_running_loop()
        self.sent = 0
        self.pings: list[float] = []
        self.held_back = 0.0
        self.outcome = ""
        self.is_sending = asyncio.Event()

    async def shake_hands(self, port: int) -> None:
        connected = socket.create_connection(("127.0.0.1", port))
        # Little between the server and this program, so that it is held back soon.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        connected.setblocking(False)
        self.reader, self.writer = await asyncio.open_connection(sock=connected, limit=1 << 20)
        self.writer.transport.set_write_buffer_limits(0)
        self.writer.write(head("/numbers"))
        assert b" 101 " in await self.reader.readuntil(b"\r\n\r\n")

    async def run(self) -> None:
        """Up to the server's word that all has come in order."""
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
            # A peer that is never held back must not keep the others from answering their pings.
            await asyncio.sleep(0)
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
                    received = int(frame.payload)
                    self.outcome = "all" if received == self.sent else f"{received} of {self.sent}"
                    return
                else:
                    self.outcome = f"killed: {frame}"
                    return
        self.outcome = "killed: the server ended"


def off_schedule(pings: list[float], interval: float) -> float:
    """By how much pings missed their schedule, which the first of them sets."""
    return max(
        (abs(later - earlier - interval) for earlier, later in itertools.pairwise(pings)), default=interval
    )


async def main(port: int, count: int, interval: float) -> None:
    loop, over, stalled = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, stalled.set)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    peers = [Peer(over) for _ in range(count)]
    await asyncio.gather(*(peer.shake_hands(port) for peer in peers))
    running = asyncio.gather(*(peer.run() for peer in peers))
    await asyncio.gather(*(peer.is_sending.wait() for peer in peers))
    print("sending", flush=True)
    await stalled.wait()
    # Until all are held back this program has too much to do to tell the time of a ping.
    began = loop.time() + interval
    await over.wait()
    ended = loop.time()
    await running
    seen = [[at for at in peer.pings if began < at < ended] for peer in peers]
    report = {
        "outcomes": sorted({peer.outcome for peer in peers}),
        "pings": min(map(len, seen)),
        "off_schedule": max(off_schedule(pings, interval) for pings in seen),
        "held_back": min(peer.held_back for peer in peers),
        "sent": sum(peer.sent for peer in peers),
    }
    print("report", json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
