"""What `Accept.subscribe` promises: a connection is subscribed from its first moment."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect

import streamconductor as sc

ROUNDS = 100


async def test_a_handler_hears_what_it_publishes_first() -> None:
    """The join travels from the connection's shard to the channel's home, the publication from Python: the join must
    come first, whatever the shards are.
    """
    server = sc.Server(sc.Config(port=0, threads=4, max_connections=500, memory_budget="2GiB"))

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None]:
        return sc.Accept(subscribe=[f"room:{request.path_params['number']}"])

    @server.route("/{number}")
    async def handler(connection: sc.Connection) -> None:
        room = f"room:{connection.request.path_params['number']}"
        server.publish_nowait(room, "hello")
        await connection.recv()

    async def visit(number: int) -> None:
        async with connect(f"ws://127.0.0.1:{server.port}/{number}") as client:
            assert await asyncio.wait_for(client.recv(), 5) == "hello"

    async with server:
        for start in range(0, ROUNDS, 25):
            await asyncio.gather(*(visit(number) for number in range(start, start + 25)))
