"""Receives connections and, at SIGUSR1, the question what is left of them · hands out counts · owns a server that uses
everything a connection can hold. Run with ``python -m``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
import weakref
from typing import Any

import streamconductor as sc


def raise_limit(files: int) -> None:
    """Allows this process that many descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = files if hard == resource.RLIM_INFINITY else min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


async def main() -> None:
    server = sc.Server(
        sc.Config(
            port=0, threads=2, max_connections=20_000, idle_timeout=None, ping_interval=60, backlog=4096
        )
    )
    alive: weakref.WeakSet[sc.Connection[Any]] = weakref.WeakSet()
    contexts: weakref.WeakSet[Any] = weakref.WeakSet()

    class Context:
        """What an application attaches."""

    @server.on_connect
    async def admit(request: sc.Request) -> sc.Accept[Context]:
        context = Context()
        contexts.add(context)
        return sc.Accept(user=request.query_string, context=context, subscribe=["all", request.query_string])

    @server.route("/")
    async def echo(connection: sc.Connection[Context]) -> None:
        alive.add(connection)
        connection.subscribe(f"own:{connection.id}", first="first")
        connection.create_task(asyncio.Event().wait())
        async for message in connection:
            await connection.send(message)
            await server.publish(f"own:{connection.id}", message)

    closed = 0

    @server.on_close
    async def ended(connection: sc.Connection[Any]) -> None:
        nonlocal closed
        closed += 1

    def report() -> None:
        gc.collect()
        counts = {
            "closed": closed,
            "alive": len(alive),
            "contexts": len(contexts),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "blocks": sys.getallocatedblocks(),
            "tasks": len(asyncio.all_tasks()),
            "occupied": server.pool.occupied,
            "pending": server.pool.pending,
            "memory": server.pool.memory_used,
            "channels": server.status()["channels"]["count"],
            "known": server.status()["pool"]["known"],
        }
        print("counts", json.dumps(counts), flush=True)

    async with server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, report)
        print("port", server.port, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    raise_limit(25_000)
    asyncio.run(main())
