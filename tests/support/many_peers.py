"""Receives a port and a number · opens that many connections, holds them all at once and closes them · owns nothing
afterwards. Run with ``python -m``.
"""

from __future__ import annotations

import asyncio
import sys

from tests.support import frames
from tests.support.counting_server import raise_limit
from tests.support.raw import head

AT_ONCE = 200
"""Handshakes under way at a time."""


async def read_frames(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    buffer, payloads = bytearray(), []
    while len(payloads) < count:
        data = await reader.read(4096)
        assert data, "the server ended"
        buffer += data
        while (found := frames.parse(buffer)) is not None:
            frame, size = found
            del buffer[:size]
            payloads.append(frame.payload)
    return payloads


async def main(port: int, count: int) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    writers: list[asyncio.StreamWriter] = []

    async def open_one(number: int) -> None:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
            writer.write(head(f"/?user{number % 100}"))
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            assert await read_frames(reader, 1) == [b"first"]
            writer.write(frames.frame(frames.TEXT, b"hello"))
            # The echo, and what was published.
            assert await read_frames(reader, 2) == [b"hello"] * 2
            writers.append(writer)

    await asyncio.gather(*(open_one(number) for number in range(count)))
    print("open", len(writers), flush=True)
    for number, writer in enumerate(writers):
        if number % 3:
            writer.write(frames.close(1000))
            await writer.drain()
        if number % 3 == 2:
            writer.transport.abort()
        else:
            writer.close()
    print("closed", flush=True)


if __name__ == "__main__":
    raise_limit(25_000)
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
