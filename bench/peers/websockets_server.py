"""Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of
`websockets` in the comparison.

Its fastest documented way: the C extension, `broadcast` for the fan-out, uvloop. It has no form with a plain function.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from listening import BACKLOG, announce, options
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

subscribers: set[ServerConnection] = set()


async def fan_out(connection: ServerConnection) -> None:
    subscribers.add(connection)
    try:
        await connection.wait_closed()
    finally:
        subscribers.discard(connection)


async def control(connection: ServerConnection) -> None:
    async for message in connection:
        broadcast(subscribers, message)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def idle(connection: ServerConnection) -> None:
    await connection.wait_closed()


HANDLERS = {"/fanout": fan_out, "/control": control, "/echo": echo, "/idle": idle}


async def handle(connection: ServerConnection) -> None:
    request = connection.request
    assert request is not None
    await HANDLERS[request.path](connection)


async def main() -> None:
    compressing: dict[str, Any] = {}
    if options().compression:
        terms = ServerPerMessageDeflateFactory(
            server_no_context_takeover=True, client_no_context_takeover=True
        )
        compressing["extensions"] = [terms]
    async with serve(handle, "127.0.0.1", 0, compression=None, backlog=BACKLOG, **compressing) as server:
        announce(next(iter(server.sockets)).getsockname()[1])
        await asyncio.Future()


uvloop.run(main())
