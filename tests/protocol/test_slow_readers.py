"""Readers that are slow or have stopped: the policy acts, the cap holds, and whoever reads gets everything."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import CLOSE, close
from tests.support.raw import PATIENCE, Peer, Stopwatch
from tests.support.servers import Greatest, Site, eventually

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


def test_a_reader_that_has_stopped_is_disconnected(serve: Serve) -> None:
    """F26 under `disconnect`: at max_buffered, never above it; a good reader gets everything."""
    site, connections = subscribed(serve, high_water=HIGH, max_buffered=MAX, dwell=5, close_timeout=0.3)
    with site.connect(receive_buffer=4_096) as peer, site.connect() as good:
        peer.upgrade("/news")
        slow = connections.get(timeout=PATIENCE)
        good.upgrade("/news")
        connections.get(timeout=PATIENCE)
        numbers: list[int] = []
        reader = threading.Thread(target=read_numbers, args=(good, numbers))
        reader.start()
        buffered: list[int] = []

        def is_over() -> bool:
            buffered.append(slow.buffered_amount)
            return slow.closed is not None

        count = site.run(publish_until(site.server, is_over))
        closed = site.ended()
        assert (closed.code, closed.ending) == (4008, "slow_consumer")
        # Value and limit are in the reason.
        assert str(HIGH) in closed.reason or str(MAX) in closed.reason
        assert HIGH < max(buffered) <= MAX
        assert slow.buffered_amount == 0
        assert eventually(lambda: len(numbers) == count)
        assert numbers == list(range(count))
        # Its socket took no Close, so it ends in a reset.
        assert peer.discard() == "RST"
        good.send(close())
        reader.join()
    assert site.ended().code == 1005


def test_a_reader_above_high_water_for_the_dwell_is_disconnected(serve: Serve) -> None:
    """F26: below max_buffered the dwell decides."""
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


def test_a_reader_that_has_stopped_loses_the_oldest(serve: Serve) -> None:
    """F26 under `drop_oldest`: it stays, the cap holds, and what it lost is counted."""
    site, connections = subscribed(
        serve,
        high_water=HIGH,
        max_buffered=MAX,
        overflow="drop_oldest",
        ping_interval=None,
        write_timeout=None,
        max_lag=None,
    )
    with site.connect(receive_buffer=4_096) as peer:
        peer.upgrade("/news")
        slow = connections.get(timeout=PATIENCE)
        with Greatest(lambda: slow.buffered_amount) as buffered:
            count = site.run(publish_until(site.server, lambda: slow.dropped >= 500))
        assert HIGH < buffered.value <= MAX
        assert slow.state is sc.State.OPEN
        site.run(site.server.publish("news", b"%08d" % count + b"x" * 4_088))
        numbers: list[int] = []
        while not numbers or numbers[-1] != count:
            numbers.append(int(peer.frame().payload[:8]))
        # In order, none twice, and exactly what is missing was counted.
        assert numbers == sorted(set(numbers))
        assert len(numbers) + slow.dropped == count + 1
        assert eventually(lambda: slow.buffered_amount == 0)
        peer.send(close())
        assert peer.frame().opcode == CLOSE
    assert site.ended().dropped == slow.dropped


def read_numbers(peer: Peer, numbers: list[int]) -> None:
    # Whether it read everything is for the test to say, when its socket is closed.
    with contextlib.suppress(OSError):
        while (one := peer.frame()).opcode != CLOSE:
            numbers.append(int(one.payload[:8]))


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


def test_a_reader_of_a_few_bytes_is_ended_by_max_lag(serve: Serve) -> None:
    """F27: it makes progress all the time, so only the age of what waits tells."""

    def application(server: sc.Server) -> None:
        @server.route("/big")
        async def handler(connection: sc.Connection[Any]) -> None:
            # Awaited sends, to which no dwell applies.
            while True:
                await connection.send(b"x" * 400_000)

    site = serve(
        application, max_lag=1.5, ping_interval=0.5, ping_timeout=0.5, write_timeout=1.0, close_timeout=0.3
    )
    with site.connect(receive_buffer=4_096) as peer:
        peer.upgrade("/big")
        watch = Stopwatch()
        taken = 0
        while site.endings.empty() and watch.seconds < 10:
            with contextlib.suppress(ConnectionError):
                taken += len(peer.socket.recv(2_048))
            time.sleep(0.01)
        closed = site.ended()
        assert (closed.code, closed.ending) == (4008, "lagging")
        assert "max_lag" in closed.reason
        assert taken > 100_000
        assert 1.4 <= watch.seconds <= 1.5 + SLACK


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
