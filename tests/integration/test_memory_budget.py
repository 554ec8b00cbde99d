"""One budget for all buffers: newcomers are refused first, then connections are shed, and then all is well again."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidStatus

import streamconductor as sc
from tests.support.live import client, get, peer_of, ready, server_with, until, until_async

MEBIBYTE = 2**20
BUDGET = 48 * MEBIBYTE
MESSAGE = b"m" * 50_000


def budgeted(**settings: Any) -> sc.Server:
    """A server whose connections may hold more than its budget."""
    server = server_with(
        **(
            {
                "memory_budget": BUDGET,
                "threads": 2,
                "max_buffered": 8 * MEBIBYTE,
                "high_water": 7 * MEBIBYTE,
            }
            | settings
        )
    )

    @server.route("/")
    async def idle(connection: sc.Connection[Any]) -> None:
        async for _ in connection:
            pass

    return server


async def fill(server: sc.Server, connections: list[sc.Connection[Any]], part: float) -> None:
    """Sends to readers that do not read, in turn, until that part of the budget is used."""
    while True:
        for connection in connections:
            if server.pool.memory_used >= part * BUDGET:
                return
            await push(connection)


async def push(connection: sc.Connection[Any]) -> int:
    """Bytes that it takes now."""
    try:
        connection.send_nowait(MESSAGE)
    except (sc.Full, sc.ConnectionClosed):
        await asyncio.sleep(0)
        return 0
    except sc.Overloaded:
        # The shard has not yet come to what is in its mailbox.
        await asyncio.sleep(0.001)
        return 0
    return len(MESSAGE)


async def test_newcomers_are_refused_then_connections_shed_and_then_it_recovers() -> None:
    server = budgeted()
    process = psutil.Process()
    async with server:
        peers = [await asyncio.to_thread(peer_of, server, receive_buffer=4096) for _ in range(24)]
        await until(lambda: len(server.connections()) == 24)
        connections = server.connections()
        before = process.memory_info().rss
        assert server.status()["level"]["name"] == "normal"

        await fill(server, connections, 0.82)
        status = server.status()
        assert status["level"]["name"] == "refusing"
        assert "memory budget" in status["level"]["reason"]
        assert (await ready(server))[0] == 503
        with pytest.raises(InvalidStatus) as caught:
            await client(server)
        assert caught.value.response.status_code == 503
        assert (await get(server.port, "/livez"))[0] == 200
        assert all(connection.state is sc.State.OPEN for connection in connections)

        # As much again, whatever has to leave for it.
        sent = 0
        while sent < BUDGET:
            for connection in connections:
                sent += await push(connection)
        await until(lambda: server.status()["endings"]["over_budget"] > 0, 30, facts=server.status)
        assert process.memory_info().rss - before < BUDGET + 24 * MEBIBYTE
        assert server.pool.memory_used < BUDGET + 2 * MEBIBYTE

        shed = [connection for connection in connections if connection.state is not sc.State.OPEN]
        assert 1 <= len(shed) < len(connections)
        for peer in peers:
            peer.reset()
        await until(lambda: all(connection.closed for connection in connections))
        for connection in shed:
            assert connection.closed is not None
            assert connection.closed.ending == "over_budget"

        async def is_ready() -> bool:
            return (await ready(server))[0] == 200

        await until_async(is_ready)
        assert server.status()["level"]["name"] == "normal"
        assert sum(server.status()["ledger"]["owners"].values()) < MEBIBYTE
        async with client(server):
            pass


async def test_messages_that_nobody_takes_count_too() -> None:
    server = server_with(memory_budget="8MiB", max_inbound="4MiB", max_buffered="1MiB", threads=2)
    may_take = asyncio.Event()
    taken = 0

    @server.route("/")
    async def late(connection: sc.Connection[Any]) -> None:
        nonlocal taken
        await may_take.wait()
        async for message in connection:
            taken += len(message)

    async with server, client(server) as first, client(server) as second:
        for peer in (first, second):
            for _ in range(30):
                await asyncio.wait_for(peer.send(b"i" * 100_000), 5)
        await until(lambda: server.status()["ledger"]["owners"]["inbound"] > 5 * MEBIBYTE)
        may_take.set()
        await until(lambda: taken == 60 * 100_000)
        await until(lambda: server.pool.memory_used < MEBIBYTE)
