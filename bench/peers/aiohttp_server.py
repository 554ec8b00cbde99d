"""Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of aiohttp in
the comparison.

Its C parser and uvloop. A fan-out is a loop over `send_str`, which waits for nobody whose buffer has room.
"""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import WSMsgType, web
from listening import announce, listening, options

subscribers: set[web.WebSocketResponse] = set()
compression = options().compression


async def opened(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=compression)
    await socket.prepare(request)
    return socket


async def fan_out(request: web.Request) -> web.WebSocketResponse:
    socket = await opened(request)
    subscribers.add(socket)
    try:
        async for _ in socket:
            pass
    finally:
        subscribers.discard(socket)
    return socket


async def control(request: web.Request) -> web.WebSocketResponse:
    socket = await opened(request)
    async for message in socket:
        for subscriber in list(subscribers):
            await subscriber.send_str(message.data)
    return socket


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = await opened(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def idle(request: web.Request) -> web.WebSocketResponse:
    socket = await opened(request)
    async for _ in socket:
        pass
    return socket


async def main() -> None:
    application = web.Application()
    application.router.add_get("/echo", echo)
    application.router.add_get("/fanout", fan_out)
    application.router.add_get("/control", control)
    application.router.add_get("/idle", idle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    listener = listening()
    await web.SockSite(runner, listener, backlog=4096).start()
    announce(listener.getsockname()[1])
    await asyncio.Future()


uvloop.run(main())
