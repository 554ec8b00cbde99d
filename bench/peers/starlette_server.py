"""Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of Starlette
on uvicorn in the comparison.

uvloop, httptools and the WebSocket half that uvicorn picks by itself. A fan-out is a loop over `send_text`.
"""

from __future__ import annotations

import uvicorn
from listening import BACKLOG, announce, listening, options
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

subscribers: set[WebSocket] = set()


async def fan_out(socket: WebSocket) -> None:
    await socket.accept()
    subscribers.add(socket)
    try:
        async for _ in socket.iter_text():
            pass
    finally:
        subscribers.discard(socket)


async def control(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        for subscriber in list(subscribers):
            try:
                await subscriber.send_text(text)
            except WebSocketDisconnect:
                subscribers.discard(subscriber)


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


async def idle(socket: WebSocket) -> None:
    await socket.accept()
    async for _ in socket.iter_text():
        pass


paths = {"/echo": echo, "/fanout": fan_out, "/control": control, "/idle": idle}
application = Starlette(routes=[WebSocketRoute(path, endpoint) for path, endpoint in paths.items()])

listener = listening()
server = uvicorn.Server(
    uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        backlog=BACKLOG,
        ws_per_message_deflate=options().compression,
        access_log=False,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
)
announce(listener.getsockname()[1])
server.run(sockets=[listener])
