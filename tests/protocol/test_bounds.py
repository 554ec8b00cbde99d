"""What hostile and slow peers can make the server hold: as much as the limits say, however long they try."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import BINARY, CLOSE, PING, PONG, TEXT, close, frame
from tests.support.raw import PATIENCE, Peer, Stopwatch
from tests.support.servers import Site, eventually

SLACK = 1.5
MIB = 1 << 20


def resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


class Greatest:
    """Samples a value of the server from a thread of its own and keeps the greatest."""

    def __init__(self, sample: Callable[[], int]) -> None:
        self.value = sample()
        self._sample = sample
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self.value = max(self.value, self._sample())

    def __enter__(self) -> Greatest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop], ids=["asyncio"])
def test_what_a_thousand_frames_declare_is_not_reserved(serve: Serve) -> None:
    """F10: 1,000 peers declare 1 MiB each and send one byte of it."""
    count = 1_000

    def application(server: sc.Server) -> None:
        @server.on_message("/listen")
        def listen(connection: sc.Connection[Any], message: str | bytes) -> None:
            raise AssertionError("no message is ever complete")

    site = serve(
        application, max_connections=count + 1, max_pending=count, message_timeout=4, memory_budget="4GiB"
    )
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(site.address)) for _ in range(count)]
        for peer in peers:
            peer.upgrade("/listen")
        before = resident()
        started = frame(BINARY, b"x", declared=MIB)
        for peer in peers:
            peer.send(started)
        # The ledger counts what is really held: all of them have been read, and hold next to nothing.
        assert eventually(lambda: site.pool.memory_used >= count * 64)
        assert resident() - before < 20 * MIB
        assert site.pool.memory_used < 2 * MIB
        # And they do not hold it for long.
        for peer in peers:
            code, reason = peer.closed()
            assert (code, "message_timeout" in reason) == (1008, True)
            peer.send(close(1008))


@pytest.mark.parametrize("max_control_rate", [100, None], ids=["rate", "no rate"])
def test_a_ping_flood_that_is_never_read_is_bounded_and_ended(
    serve: Serve, max_control_rate: int | None
) -> None:
    """F21: at most one pong waits; the rate ends it, and without one the full socket does."""
    site = serve(max_control_rate=max_control_rate, write_timeout=0.8, close_timeout=0.3)
    with site.connect(receive_buffer=16_384) as peer:
        peer.upgrade()
        before = resident()
        flood = b"".join(frame(PING, b"%0125d" % number) for number in range(2_000))
        watch = Stopwatch()
        used = 0
        with Greatest(lambda: site.pool.memory_used) as memory, contextlib.suppress(ConnectionError):
            while watch.seconds < 10:
                peer.send(flood)
                used += len(flood)
        closed = site.ended()
        if max_control_rate is None:
            assert closed.ending == "write_timeout"
            assert used > 4 * MIB  # far more than what pongs could wait in
        else:
            assert (closed.code, closed.ending) == (1008, "violation")
            assert "max_control_rate" in closed.reason
        assert watch.seconds < 2 + SLACK
        assert memory.value <= MIB
        assert resident() - before < 16 * MIB


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
    site, connections = subscribed(serve, high_water=HIGH, max_buffered="16MiB", dwell=0.5, close_timeout=0.3)
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


def test_a_handler_that_takes_nothing_holds_its_peer_back(serve: Serve) -> None:
    """Inbound: above max_inbound reading pauses, TCP holds the peer back, and nobody is declared dead for it."""
    go_on = asyncio.Event()
    total = asyncio.Queue[int]()

    def application(server: sc.Server) -> None:
        @server.route("/wait")
        async def handler(connection: sc.Connection[Any]) -> None:
            await go_on.wait()
            received = 0
            async for message in connection:
                assert int(message[:8]) == received
                received += 1
                total.put_nowait(received)

    site = serve(application, max_inbound="64KiB", ping_interval=0.3, ping_timeout=0.3)
    messages = [frame(BINARY, b"%08d" % number + b"x" * 8_184) for number in range(2_000)]
    with site.connect() as peer:
        peer.upgrade("/wait")
        sent = threading.Event()

        def send() -> None:
            peer.send(*messages)
            sent.set()

        sender = threading.Thread(target=send)
        sender.start()
        with Greatest(lambda: site.pool.memory_used) as memory:
            # Three heartbeats long it cannot answer a ping that waits behind its own bytes.
            assert not sent.wait(1.5)
            assert memory.value < 2 * MIB
        site.call(go_on.set)
        assert sent.wait(PATIENCE)
        sender.join()
        # Pongs go out now that nothing is in their way.
        deadline = time.monotonic() + PATIENCE
        while site.call(total.qsize) < len(messages):
            assert time.monotonic() < deadline
            peer.socket.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                if (one := peer.any_frame()).opcode == PING:
                    peer.send(frame(PONG, one.payload))
        assert site.endings.empty()


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


def test_text_in_a_flood_is_read_at_the_handlers_pace(site: Site) -> None:
    """F13, in small: 20,000 empty messages are an echo each, and the canary stays fast."""
    with site.connect() as peer:
        peer.upgrade()
        empty = frame(TEXT)
        sender = threading.Thread(target=lambda: peer.send(empty * 20_000))
        sender.start()
        for _ in range(20_000):
            assert peer.frame().payload == b""
        sender.join()
    assert site.canary is not None
    assert site.canary.slowest < 1
