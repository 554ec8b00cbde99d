"""Receives the way to stall, and for how long · hands out the port, and says when it stalls · owns a server whose
Python does nothing meanwhile. Run with ``python -m``.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import time
from typing import Any

import streamconductor as sc


def stall(how: str, seconds: float) -> None:
    """Blocks the event loop: like a slow function, or like an extension that keeps the interpreter's lock."""
    print("stalls", flush=True)
    if how == "gil":
        # PyDLL, unlike CDLL, does not release the lock.
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    else:
        time.sleep(seconds)
    print("goes on", flush=True)


async def main(how: str, seconds: float) -> None:
    server = sc.Server(
        sc.Config(port=0, threads=2, max_connections=200, ping_interval=1, max_inbound="64KiB", shutdown_grace=3,
                  close_timeout=1)
    )  # fmt: skip

    @server.route("/numbers")
    async def numbers(connection: sc.Connection[Any]) -> None:
        expected = 0
        async for message in connection:
            number = int(message[:8])
            if number != expected:
                connection.close(4000, f"{number} came instead of {expected}")
                return
            expected += 1
            if message[8:] == b"last":
                await connection.send(str(expected))

    @server.on_message("/stall")
    def begin(connection: sc.Connection[Any], message: str | bytes) -> None:
        asyncio.get_running_loop().call_soon(stall, how, seconds)

    async with server:
        print("port", server.port, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
