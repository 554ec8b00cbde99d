"""Chat rooms: everybody in a room gets what anybody in it says.

    python examples/rooms.py
    ws://127.0.0.1:8000/rooms/lobby?name=ada

A message is JSON, ``{"text": "hello"}``. What is not closes its connection with 1007, and nobody else notices.
"""

from urllib.parse import parse_qs

from pydantic import BaseModel, Field

import streamconductor as sc

server = sc.Server()

# A slow reader misses the oldest lines instead of being disconnected; what it missed is counted.
server.channel("room:*", overflow="drop_oldest")


class Line(BaseModel):
    text: str = Field(min_length=1, max_length=1_000)


@server.on_connect
def admit(request: sc.Request) -> sc.Accept[None] | sc.Reject:
    """Who it is. A real one checks `request.bearer_token`; here everybody is who they say they are."""
    match parse_qs(request.query_string).get("name"):
        case [name]:
            return sc.Accept(user=name)
    return sc.Reject(400, "say who you are: ?name=…")


@server.route("/rooms/{room}")
async def room(connection: sc.Connection[None]) -> None:
    assert connection.request is not None
    channel = f"room:{connection.request.path_params['room']}"
    here = sorted({other.user for other in server.connections(channel=channel) if other.user is not None})
    # The first message goes with the subscription: no publication can come before it, and none is missed after it.
    connection.subscribe(channel, first={"here": here})
    await server.publish(channel, {"joined": connection.user})
    try:
        async for line in connection.messages(Line):
            await server.publish(channel, {"from": connection.user, "text": line.text})
    finally:
        await server.publish(channel, {"left": connection.user})


if __name__ == "__main__":
    sc.run(server)
