"""Receives the load client's connections · hands messages back, or to every subscriber · owns the side of
`websockets` in the comparison.

Prints its port as the first line. Its fastest documented way: no compression, the C extension, `broadcast`
for the fan-out, uvloop.
"""

import asyncio

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

BACKLOG = 4096

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


HANDLERS = {"/fanout": fan_out, "/control": control, "/echo": echo}


async def handle(connection: ServerConnection) -> None:
    request = connection.request
    assert request is not None
    await HANDLERS[request.path](connection)


async def main() -> None:
    async with serve(handle, "127.0.0.1", 0, compression=None, backlog=BACKLOG) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.Future()


uvloop.run(main())
