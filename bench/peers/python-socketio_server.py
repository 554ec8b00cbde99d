"""Receives the load generator's connections · hands messages back, or to every subscriber · owns the side of
python-socketio in the comparison.

On uvicorn, as its documentation has it, with uvloop and over WebSocket alone. The query says what a client is there
for; a publication is an event to the room of all subscribers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import socketio
import uvicorn
from listening import BACKLOG, announce, listening, options

server = socketio.AsyncServer(
    async_mode="asgi", transports=["websocket"], http_compression=False, cors_allowed_origins="*"
)
echoing: set[str] = set()


@server.event
async def connect(sid: str, environment: dict[str, Any]) -> None:
    query = parse_qs(environment["QUERY_STRING"])
    if "echo" in query:
        echoing.add(sid)
    else:
        await server.enter_room(sid, "bench")


@server.event
async def disconnect(sid: str, *_: object) -> None:
    echoing.discard(sid)


@server.event
async def publish(sid: str, message: str) -> None:
    if sid in echoing:
        await server.emit("publish", message, to=sid)
    else:
        await server.emit("publish", message, room="bench")


listener = listening()
application = uvicorn.Server(
    uvicorn.Config(
        socketio.ASGIApp(server),
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
application.run(sockets=[listener])
