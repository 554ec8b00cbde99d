"""Readers that are slow or have stopped: the policy acts, the cap holds, and whoever reads gets everything."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable
from typing import Any

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.raw import PATIENCE, Stopwatch
from tests.support.servers import Site

SLACK = 1.5
MIB = 1 << 20


def subscribed(serve: Serve, **settings: Any) -> tuple[Site, queue.Queue[sc.Connection[Any]]]:
    """A site whose `/news` connections are subscribed to `news`, and are handed to the test."""
    connections: queue.Queue[sc.Connection[Any]] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.route("/news")
        async def news(connection: sc.Connection[Any]) -> None:
            connection.subscribe("news")
            connections.put(connection)
            async for _ in connection:
                pass

    return serve(application, **settings), connections


async def publish_until(server: sc.Server, is_over: Callable[[], bool]) -> int:
    """Publishes 4 KiB messages with their number until told, or for 10 s; how many. The loop gets its turns."""
    number = 0
    deadline = time.monotonic() + 10
    while not is_over() and time.monotonic() < deadline:
        await server.publish("news", b"%08d" % number + b"x" * 4_088)
        number += 1
        if number % 4 == 0:
            await asyncio.sleep(0.001)
    return number


HIGH, MAX = 64 * 1024, 512 * 1024


def test_a_reader_above_high_water_for_the_dwell_is_disconnected(serve: Serve) -> None:
    """Below max_buffered the dwell decides."""
    site, connections = subscribed(serve, high_water=HIGH, max_buffered="8MiB", dwell=0.5, close_timeout=0.3)
    with site.connect(receive_buffer=4_096) as peer:
        peer.upgrade("/news")
        slow = connections.get(timeout=PATIENCE)
        site.run(publish_until(site.server, lambda: slow.buffered_amount > 2 * HIGH))
        watch = Stopwatch()
        closed = site.ended()
        assert (closed.code, closed.ending) == (4008, "slow_consumer")
        assert str(HIGH) in closed.reason
        assert 0.2 <= watch.seconds <= 0.5 + SLACK


def test_senders_wait_for_a_slow_reader_and_nothing_is_lost(serve: Serve) -> None:
    """Backpressure: `send` waits above high water, so the producer goes as fast as its reader."""
    count = 600

    def application(server: sc.Server) -> None:
        @server.route("/count")
        async def handler(connection: sc.Connection[Any]) -> None:
            for number in range(count):
                await connection.send(b"%08d" % number + b"x" * 8_184)
                most.append(connection.buffered_amount)

    most: list[int] = []
    site = serve(application, high_water=HIGH, max_buffered=MAX)
    with site.connect(receive_buffer=4_096) as peer:
        peer.upgrade("/count")
        for number in range(count):
            assert int(peer.frame().payload[:8]) == number
        assert peer.closed()[0] == 1000
        assert max(most) <= HIGH + 8_192 + 16


def test_a_reader_that_takes_nothing_is_ended_by_write_timeout(serve: Serve) -> None:
    """What ends a peer whose full socket takes no ping."""

    def application(server: sc.Server) -> None:
        @server.route("/big")
        async def handler(connection: sc.Connection[Any]) -> None:
            while True:
                await connection.send(b"x" * 400_000)

    site = serve(application, ping_interval=0.5, ping_timeout=0.5, write_timeout=0.8)
    with site.connect(receive_buffer=4_096) as peer:
        peer.upgrade("/big")
        watch = Stopwatch()
        closed = site.ended()
        assert (closed.code, closed.ending) == (1006, "write_timeout")
        assert 0.7 <= watch.seconds <= 0.8 + SLACK
        assert peer.discard() == "RST"


def test_a_message_for_everybody_is_held_once(serve: Serve) -> None:
    """Forty stalled readers of the same publications cost hardly more than one."""
    site, connections = subscribed(serve, high_water="1MiB", max_buffered="2MiB", dwell=30)
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(40):
            peer = stack.enter_context(site.connect(receive_buffer=4_096))
            peer.upgrade("/news")
            slow.append(connections.get(timeout=PATIENCE))
        site.run(publish_until(site.server, lambda: min(one.buffered_amount for one in slow) > 512 * 1024))
        logical = sum(one.buffered_amount for one in slow)
        assert logical > 20 * MIB
        assert site.pool.memory_used < 8 * MIB
