"""A reader that does not read costs a bounded amount of memory, and every message it did not get is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

import streamconductor as sc
from tests.support import frames
from tests.support.live import peer_of, server_with, until
from tests.support.raw import Peer

MEBIBYTE = 2**20
MAX_BUFFERED = MEBIBYTE
SIZE = 4_000
"""Bytes of one message."""
PUBLISHED = 40 * MAX_BUFFERED // SIZE
KEYS = 10


@asynccontextmanager
async def slow_reader(**settings: Any) -> AsyncIterator[tuple[sc.Server, sc.Connection[Any], Peer]]:
    """A server, and a connection with a receive buffer of 4 KiB that is subscribed and reads nothing."""
    server = server_with(**({"max_buffered": MAX_BUFFERED, "threads": 2} | settings))

    @server.route("/")
    async def subscribe(connection: sc.Connection[Any]) -> None:
        connection.subscribe("news")
        async for _ in connection:
            pass

    async with server:
        peer = await asyncio.to_thread(peer_of, server, receive_buffer=4096)
        try:
            await until(lambda: server.publish_nowait("news", "") == 1)
            [connection] = server.connections()
            yield server, connection, peer
        finally:
            peer.close()


async def publish_all(server: sc.Server) -> int:
    """Publishes without a pause; bytes by which the process has grown."""
    process = psutil.Process()
    before = process.memory_info().rss
    handed_over = server.status()["shards"]["published"]
    for number in range(PUBLISHED):
        # Without a subscriber nothing is handed to a shard.
        payload = b"%08d" % number + b"n" * (SIZE - 8)
        handed_over += await server.publish("news", payload, key=str(number % KEYS))
    await until(lambda: server.status()["shards"]["published"] == handed_over)
    return process.memory_info().rss - before


def read_numbers(peer: Peer) -> list[int]:
    """The numbers of the messages up to the word "end", or to the Close."""
    numbers = []
    while True:
        frame = peer.frame()
        if frame.opcode == frames.CLOSE or frame.payload == b"end":
            return numbers
        if frame.payload:
            assert len(frame.payload) == SIZE
            numbers.append(int(frame.payload[:8]))


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "conflate"])
async def test_what_was_dropped_and_what_came_is_all(overflow: str) -> None:
    async with slow_reader(overflow=overflow) as (server, connection, peer):
        growth = await publish_all(server)
        assert growth < 24 * MEBIBYTE, f"grew by {growth / MEBIBYTE:.1f} MiB"
        assert connection.buffered_amount <= MAX_BUFFERED
        assert server.pool.memory_used < 4 * MEBIBYTE
        reading = asyncio.create_task(asyncio.to_thread(read_numbers, peer))
        await until(lambda: connection.buffered_amount == 0)
        await connection.send("end")
        received = await reading
        assert received == sorted(set(received)), "in order, and none twice"
        assert len(received) + connection.dropped == PUBLISHED
        assert connection.dropped > PUBLISHED * 0.8
        traffic = server.status()["traffic"]
        assert traffic["dropped"][overflow]["messages"] == connection.dropped
        last = PUBLISHED - 1
        if overflow == "drop_oldest":
            assert received[-1] == last
        if overflow == "drop_newest":
            # Each pass leaves the oldest, as many as high water holds.
            assert received[:16] == list(range(16))
        if overflow == "conflate":
            # Of every key the newest, and behind high water only one of each.
            assert set(received[-KEYS:]) == set(range(PUBLISHED - KEYS, PUBLISHED))
            assert connection.dropped > PUBLISHED * 0.9


async def test_a_slow_consumer_is_disconnected_and_what_it_missed_is_counted() -> None:
    async with slow_reader(overflow="disconnect", dwell=60) as (server, connection, peer):
        publishing = asyncio.create_task(publish_all(server))
        await until(lambda: connection.state is not sc.State.OPEN)
        received = await asyncio.to_thread(read_numbers, peer)
        assert await publishing < 24 * MEBIBYTE
        assert received == list(range(len(received)))
        await until(lambda: connection.closed)
        assert connection.closed is not None
        assert (connection.close_code, connection.closed.ending) == (4008, "slow_consumer")
        assert str(MAX_BUFFERED) in connection.close_reason or "MiB" in (connection.close_reason or "")
        traffic = server.status()["traffic"]
        # One empty message came before the numbers.
        assert 1 + len(received) + traffic["discarded"]["messages"] == traffic["accepted"]["messages"]
        assert traffic["pending"] == {"messages": 0, "bytes": 0}
        assert traffic["accepted"]["bytes"] > MAX_BUFFERED


async def test_a_slow_consumer_may_dwell_above_high_water_for_a_while() -> None:
    async with slow_reader(overflow="disconnect", dwell=1, high_water="64KiB") as (
        server,
        connection,
        peer,
    ):
        # At once, so that the dwell is not over before the mark is passed.
        for _ in range(60):
            server.publish_nowait("news", b"n" * SIZE)
        await until(lambda: connection.buffered_amount > 100_000 or connection.state is not sc.State.OPEN)
        assert connection.state is sc.State.OPEN
        await until(lambda: connection.state is not sc.State.OPEN)
        peer.reset()
        await until(lambda: connection.closed)
        assert connection.closed is not None
        assert connection.closed.ending == "slow_consumer"


async def test_a_channel_s_own_policy_leaves_others_alone() -> None:
    server = server_with(max_buffered="256KiB", high_water="64KiB", overflow="disconnect", dwell=60)
    server.channel("prices:*", overflow="conflate", high_water="8KiB")

    @server.route("/")
    async def subscribe(connection: sc.Connection[Any]) -> None:
        connection.subscribe("prices:EUR")
        connection.subscribe("orders")
        async for _ in connection:
            pass

    async with server:
        peer = await asyncio.to_thread(peer_of, server, receive_buffer=4096)
        await until(lambda: server.publish_nowait("orders", "") == 1)
        [connection] = server.connections()
        orders = 0
        for number in range(500):
            await server.publish("prices:EUR", b"%08d" % number + b"p" * (SIZE - 8), key="EUR")
            if number % 50 == 0:
                await server.publish("orders", f"order {orders}")
                orders += 1
        # Between a publication and a private message there is no order: all of them first.
        await until(lambda: server.status()["traffic"]["accepted"]["messages"] == 501 + orders)
        assert connection.state is sc.State.OPEN
        assert connection.dropped > 400

        def read() -> list[bytes]:
            messages = []
            while (frame := peer.frame()).payload != b"end":
                messages.append(frame.payload)
            return messages

        reading = asyncio.create_task(asyncio.to_thread(read))
        await connection.send("end")
        messages = await reading
        assert [one for one in messages if one.startswith(b"order")] == [
            b"order %d" % one for one in range(orders)
        ]
        prices = [int(one[:8]) for one in messages if one.endswith(b"p")]
        assert prices[-1] == 499
        assert len(prices) + connection.dropped == 500
        peer.close()
