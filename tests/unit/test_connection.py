"""What a connection knows of its opening."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect

import streamconductor as sc


async def test_a_connection_of_a_push_route_has_no_request() -> None:
    server = sc.Server(sc.Config(port=0, threads=1, memory_budget="64MiB", max_connections=8))
    server.push("/news")
    async with server, connect(f"ws://127.0.0.1:{server.port}/news"):
        [connection] = server.connections()

        assert connection.context is None
        assert connection.remote_address is None
        with pytest.raises(LookupError, match="push route"):
            _ = connection.request


async def test_a_handler_has_the_request_and_the_context() -> None:
    server = sc.Server(sc.Config(port=0, threads=1, memory_budget="64MiB", max_connections=8))
    known: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[int]:
        return sc.Accept(context=7)

    @server.route("/rooms/{room}")
    async def room(connection: sc.Connection[int]) -> None:
        known.put_nowait((connection.request.path_params["room"], connection.context))

    async with server, connect(f"ws://127.0.0.1:{server.port}/rooms/a"):
        async with asyncio.timeout(5):
            assert await known.get() == ("a", 7)
