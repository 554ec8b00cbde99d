"""What `send`, `send_nowait` and `drain` do below and above the marks, and from where they may be called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import streamconductor as sc
from tests.support import frames
from tests.support.live import client, ending, fill_memory, peer_of, server_with, until
from tests.support.raw import Peer

# Small marks, so that a peer that does not read fills them at once.
MARKS: dict[str, Any] = {"high_water": "16KiB", "low_water": "4KiB", "max_buffered": "256KiB"}
KILOBYTE = b"k" * 1000


@asynccontextmanager
async def stalled(server: sc.Server) -> AsyncIterator[tuple[sc.Connection[Any], Peer]]:
    """A connection whose peer does not read, with more pending than high water; its handler does nothing."""

    @server.route("/stalled")
    async def idle(connection: sc.Connection[Any]) -> None:
        async for _ in connection:
            pass

    async with server:
        peer = await asyncio.to_thread(peer_of, server, "/stalled", receive_buffer=4096)
        try:
            await until(server.connections)
            [connection] = server.connections()
            # The kernel takes some; what it does not take stays pending.
            while connection.buffered_amount < 32 * 1024:
                connection.send_nowait(KILOBYTE)
                await asyncio.sleep(0)
            yield connection, peer
        finally:
            peer.close()


def read_messages(peer: Peer, last: bytes) -> list[bytes]:
    """Reads up to and with the message `last`."""
    received = []
    while not received or received[-1] != last:
        received.append(peer.frame().payload)
    return received


async def test_send_returns_at_once_below_high_water() -> None:
    server = server_with()
    turns: list[int] = []

    @server.route("/")
    async def count(connection: sc.Connection[None]) -> None:
        passed = 0

        async def turn() -> None:
            nonlocal passed
            while True:
                passed += 1
                await asyncio.sleep(0)

        connection.create_task(turn())
        for _ in range(63):
            await connection.send("x")
        turns.append(passed)
        await connection.send("the 64th")
        turns.append(passed)

    async with server, client(server) as peer:
        await ending(peer)
    # Only the 64th call in a row lets others run.
    assert turns == [0, 1]


async def test_senders_above_high_water_go_on_first_in_first_out_and_one_at_a_time() -> None:
    server = server_with(**MARKS)
    async with stalled(server) as (connection, peer):
        done: list[int] = []

        async def send(number: int) -> None:
            await connection.send(f"{number:03}" + "s" * 3000)
            # The next sender's message is not yet accepted when this one's was: it takes its own turn.
            done.append(number)

        senders = [asyncio.create_task(send(number)) for number in range(40)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert not done, "above high water they wait"
        # A sender that gives up lets the next one go on.
        senders[1].cancel()
        received = asyncio.create_task(asyncio.to_thread(read_messages, peer, b"last"))
        await asyncio.gather(*senders, return_exceptions=True)
        await connection.send("last")
        numbers = [message[:3] for message in await received if len(message) == 3003]
        expected = [number for number in range(40) if number != 1]
        assert numbers == [f"{number:03}".encode() for number in expected]
        assert done == expected


async def test_a_sender_that_comes_later_does_not_overtake_those_who_wait() -> None:
    server = server_with(**MARKS)
    async with stalled(server) as (connection, peer):
        first = asyncio.create_task(connection.send("first"))

        async def come_later() -> None:
            # It sees that there is room before those who wait have been told.
            while connection.buffered_amount > 0:  # noqa: ASYNC110 there is no event before the event
                await asyncio.sleep(0)
            await connection.send("second")

        second = asyncio.create_task(come_later())
        await asyncio.sleep(0)
        received = await asyncio.to_thread(read_messages, peer, b"second")
        await asyncio.gather(first, second)
        assert received[-2:] == [b"first", b"second"]


async def test_waiting_senders_are_told_that_the_connection_ended() -> None:
    server = server_with(**MARKS)
    async with stalled(server) as (connection, peer):
        senders = [asyncio.create_task(connection.send("never")) for _ in range(3)]
        draining = asyncio.create_task(connection.drain())
        await asyncio.sleep(0)
        peer.reset()
        outcomes = await asyncio.gather(*senders, draining, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [sc.ConnectionClosedError] * 4
        assert {outcome.code for outcome in outcomes if isinstance(outcome, sc.ConnectionClosed)} == {1006}


async def test_drain_waits_for_low_water() -> None:
    server = server_with(**MARKS)
    async with stalled(server) as (connection, peer):
        draining = asyncio.create_task(connection.drain())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not draining.done()
        before = connection.buffered_amount
        discarded = asyncio.create_task(asyncio.to_thread(peer.discard))
        await draining
        assert connection.buffered_amount <= 4096 < before
        await connection.drain()
        connection.close()
        await discarded


async def test_send_nowait_raises_full_and_sends_nothing() -> None:
    server = server_with(**MARKS)
    async with stalled(server) as (connection, peer):
        accepted = 0
        while connection.buffered_amount + 9_004 <= 256 * 1024:
            connection.send_nowait(b"n" * 9_000)
            accepted += 1
        with pytest.raises(sc.Full) as caught:
            connection.send_nowait(b"n" * 9_000)
        assert caught.value.size == 9_004
        assert caught.value.limit == 256 * 1024
        assert caught.value.buffered + caught.value.size > caught.value.limit
        assert connection.buffered_amount <= 256 * 1024
        sending = asyncio.create_task(connection.send("last"))
        received = await asyncio.to_thread(read_messages, peer, b"last")
        await sending
        assert sum(len(message) == 9_000 for message in received) == accepted


async def test_a_message_that_fits_nobody_is_refused_and_reaches_nobody() -> None:
    server = server_with(**MARKS)
    huge = "h" * (256 * 1024)

    @server.route("/")
    async def subscribe(connection: sc.Connection[None]) -> None:
        connection.subscribe("news")
        calls: list[Callable[[], Any]] = [
            lambda: connection.send(huge),
            lambda: server.publish("news", huge),
            lambda: server.broadcast(huge),
        ]
        for call in calls:
            with pytest.raises(sc.MessageTooBig) as caught:
                await call()
            assert caught.value.limit == 256 * 1024
        with pytest.raises(sc.MessageTooBig):
            connection.send_nowait(huge)
        with pytest.raises(sc.MessageTooBig):
            server.publish_nowait("news", huge)
        await connection.send("only this")

    async with server, client(server) as peer:
        assert await peer.recv() == "only this"
        assert await ending(peer) == (1000, "")


async def test_payloads_become_text_binary_or_json() -> None:
    server = server_with()

    @server.route("/")
    async def every(connection: sc.Connection[None]) -> None:
        for payload in ("text", b"bytes", bytearray(b"array"), memoryview(b"view"), {"a": [1, None]}):
            await connection.send(payload)
        with pytest.raises(ValueError, match="NaN"):
            await connection.send({"price": float("nan")})

    async with server, client(server) as peer:
        received = [message async for message in peer]
    assert received == ["text", b"bytes", b"array", b"view", '{"a":[1,null]}']


async def test_sending_belongs_to_the_loop_s_thread() -> None:
    server = server_with()

    @server.route("/")
    async def patient(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass

    def raised(call: Callable[[], object]) -> str:
        try:
            call()
        except sc.WrongThread as error:
            return error.call
        return "nothing"

    def wrong(connection: sc.Connection[Any]) -> list[str]:
        coroutines: list[Callable[[], Any]] = [
            lambda: connection.send("x"),
            lambda: server.publish("news", "x"),
            lambda: server.broadcast("x"),
            lambda: server.shutdown(),
        ]

        def step(call: Callable[[], Any]) -> None:
            coroutine = call()
            try:
                coroutine.send(None)
            finally:
                coroutine.close()

        calls: list[Callable[[], object]] = [
            lambda: connection.send_nowait("x"),
            lambda: connection.subscribe("news"),
            lambda: connection.unsubscribe("news"),
            lambda: server.connections(),
            lambda: server.connection("0-0-0"),
            lambda: server.disconnect(user="ann"),
            lambda: server.reconfigure(idle_timeout=5),
            lambda: server.status(),
            lambda: server.metrics(),
            lambda: server.channel("news", overflow="drop_oldest"),
            *(lambda call=call: step(call) for call in coroutines),  # type: ignore[misc]
        ]
        return [raised(call) for call in calls]

    async with server, client(server) as peer:
        await until(server.connections)
        [connection] = server.connections()
        found = await asyncio.to_thread(wrong, connection)
        assert found == [
            "send_nowait",
            "subscribe",
            "unsubscribe",
            "connections",
            "connection",
            "disconnect",
            "reconfigure",
            "status",
            "metrics",
            "channel",
            "send",
            "publish",
            "broadcast",
            "shutdown",
        ]
        # And nothing of it happened.
        await connection.send("fine")
        assert await peer.recv() == "fine"


async def test_overloaded_when_a_mailbox_is_full() -> None:
    # A shard takes no publications while the budget is at 90 %. Here readers that do not read hold that much, and what
    # the mailbox takes fits between that and the 100 % at which it would shed.
    server = server_with(threads=1, memory_budget="200MiB", max_buffered="8MiB", high_water="7MiB")

    @server.route("/")
    async def subscribe(connection: sc.Connection[Any]) -> None:
        connection.subscribe("news")
        async for _ in connection:
            pass

    async with server:
        peers = await fill_memory(server, "/", 181 * 2**20)
        subscribers = len(peers)

        def publish() -> sc.Overloaded:
            for _ in range(2 * 17 * 20):
                try:
                    assert server.publish_nowait("news", b"p" * 50_000) == subscribers
                except sc.Overloaded as error:
                    return error
            raise AssertionError("never refused")

        error = await asyncio.to_thread(publish)
        # Twice the largest payload, and a little: a sender waits above half, and the other half takes any payload.
        assert error.limit == 2 * (8 * 2**20 + 2**15)
        assert error.pending > error.limit - 51_000
        # Who can wait does so, and goes on once there is room.
        waiting = asyncio.create_task(server.publish("news", "patient"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        connection, *others = server.connections()
        with pytest.raises(sc.Overloaded):
            connection.subscribe("more", first=b"f" * 60_000)
        # These use the reserve.
        connection.unsubscribe("news")
        for one in (connection, *others):
            one.close(4000)
        for peer in peers:
            peer.reset()
        async with asyncio.timeout(20):
            await waiting


async def test_receiving_pauses_at_max_inbound_and_goes_on() -> None:
    server = server_with(max_inbound="64KiB")
    may_read = asyncio.Event()
    total = 0

    @server.route("/")
    async def slow(connection: sc.Connection[None]) -> None:
        nonlocal total
        await may_read.wait()
        async for message in connection:
            total += len(message)
            if message == b"last":
                break

    async with server:
        peer = await asyncio.to_thread(peer_of, server)
        peer.socket.setblocking(False)
        frame = frames.frame(frames.BINARY, b"m" * 10_000)
        sent = 0
        pending = b""

        def push() -> bool:
            """Whether the server has stopped reading: the kernel takes no more."""
            nonlocal sent, pending
            for _ in range(200):
                pending = pending or frame
                try:
                    count = peer.socket.send(pending)
                except BlockingIOError:
                    return True
                sent += count
                pending = pending[count:]
            return False

        # The kernel's buffers hold a few MiB; the server itself must not take more than its bound.
        await until(push, 10)
        # It stays that way, but for what was on its way.
        blocked = 0
        while blocked < 10:
            blocked = blocked + 1 if push() else 0
            await asyncio.sleep(0.01)
        assert server.status()["ledger"]["owners"]["inbound"] < 300_000
        may_read.set()
        peer.socket.setblocking(True)
        await asyncio.to_thread(peer.send, pending, frames.frame(frames.BINARY, b"last"))
        assert (await asyncio.to_thread(peer.closed))[0] == 1000
        peer.close()
        messages = (sent + len(pending)) // len(frame)
        assert total == messages * 10_000 + 4


@pytest.mark.parametrize("when", ["from the start", "after a change"])
async def test_the_largest_payload_can_always_be_sent(when: str) -> None:
    size = 16 * 2**20
    limits = {"max_buffered": size + 10, "memory_budget": "256MiB"}
    server = server_with(threads=1, max_message_size=size, **(limits if when == "from the start" else {}))

    @server.route("/")
    async def echo(connection: sc.Connection[Any]) -> None:
        async for message in connection:
            await connection.send(message)

    async with server:
        server.reconfigure(**limits)
        async with client(server) as peer:
            # More than one, so that the mailbox is above half when the next one comes.
            for number in range(4):
                await peer.send(bytes([number]) * size)
            for number in range(4):
                assert await peer.recv() == bytes([number]) * size
            async with client(server) as other:
                await until(lambda: len(server.connections()) == 2)
                await server.broadcast(b"b" * size)
                for one in (peer, other):
                    assert await one.recv() == b"b" * size
            with pytest.raises(sc.MessageTooBig):
                await server.broadcast(b"b" * (size + 1))
