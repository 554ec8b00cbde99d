"""A server with hardly any descriptors, run as a process of its own by `test_descriptors`.

Prints its port, then waits for its input to end.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import Any

import streamconductor as sc


async def main(limit: int) -> None:
    server = sc.Server(sc.Config(port=0, threads=2, max_connections=1_000, memory_budget="4GiB"))

    @server.route("/echo")
    async def echo(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            await connection.send(message)

    async with server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main(int(sys.argv[1])))
