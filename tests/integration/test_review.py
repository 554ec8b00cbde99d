"""Turns, ends and threads at their edges: what goes wrong only between two steps of the loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import streamconductor as sc
from streamconductor.connection import Connection
from streamconductor.dispatch import Dispatcher
from streamconductor.notices import Closed
from tests.support.live import client, ending, peer_of, server_with, until


class Handle:
    """The native half of a connection, which only counts what it is told."""

    id = "1-1"

    def __init__(self, state: sc.State = sc.State.OPEN) -> None:
        self.state_number = int(state)
        self.commands: list[str] = []

    def is_on_loop(self) -> bool:
        return True

    def is_above_low_water(self) -> bool:
        return True

    def try_send(self, payload: object) -> int:
        # It must wait.
        return 2

    def join(self, channel: str, first: object) -> None:
        self.commands.append(f"join {channel}")

    def part(self, channel: str) -> bool:
        self.commands.append(f"part {channel}")
        return channel != "unknown"

    def end(self, code: int, reason: str, raised: bool = False) -> None:
        self.commands.append(f"end {code}")


class Receiver:
    """The native receiver of a connection whose messages nobody asks for."""

    def end(self, error: Callable[[], BaseException] | None) -> None:
        """Nobody waits."""


def connection_of(handle: Any, request: Any = "one") -> Connection[None]:
    server: Any = sc.Server(sc.Config())
    # As at its start.
    server._adopt_loop()
    receiver: Any = Receiver()
    return Connection(server, handle, receiver, request, None, None, None)


LOST = Closed(1006, "", "transport_lost", "peer", 0, (0, 0), (0, 0), 0)


# Turns.


async def test_who_sends_again_does_not_overtake_who_waits() -> None:
    server = server_with(high_water="16KiB", low_water="4KiB", threads=1)
    order: list[str] = []
    is_sent = asyncio.Event()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        async def several() -> None:
            for number in range(6):
                await connection.send(b"x" * 1000)
                order.append(f"A{number}")

        async def one() -> None:
            await connection.send(b"B")
            order.append("B")

        while connection.buffered_amount < 20_000:
            connection.send_nowait(b"f" * 60_000)
            await asyncio.sleep(0.02)
        both = [asyncio.create_task(several()), asyncio.create_task(one())]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not order
        discarding = asyncio.create_task(asyncio.to_thread(peer.discard))
        await asyncio.gather(*both)
        is_sent.set()
        connection.close()
        await discarding

    async with server, asyncio.timeout(10):
        peer = await asyncio.to_thread(peer_of, server, receive_buffer=4096)
        await is_sent.wait()
    assert order[:2] == ["A0", "B"]


async def test_a_batch_that_cannot_be_taken_still_wakes_the_shards() -> None:
    class Native:
        uncorked = asyncio.Event()

        def drain(self) -> tuple[list[Any], bool]:
            raise OSError("broken")

        def uncork(self) -> None:
            self.uncorked.set()

    native: Any = Native()
    nobody: Any = None
    dispatcher = Dispatcher(
        native,
        [],
        nobody,
        nobody,
        nobody,
        on_birth=nobody,
        on_room=nobody,
        on_failure=nobody,
        on_reconfigure=nobody,
        on_connected=nobody,
        on_told=nobody,
    )
    with pytest.raises(OSError, match="broken"):
        dispatcher.run()
    async with asyncio.timeout(1):
        await native.uncorked.wait()


# Ends.


async def test_nobody_waits_for_a_connection_that_has_ended() -> None:
    connection = connection_of(Handle())
    waiting = asyncio.create_task(connection.drain())
    await asyncio.sleep(0)
    connection._end(LOST)
    async with asyncio.timeout(1):
        with pytest.raises(sc.ConnectionClosedError):
            await waiting
        with pytest.raises(sc.ConnectionClosedError):
            await connection.drain()
        with pytest.raises(sc.ConnectionClosedError):
            await connection.send("late")


async def test_closing_again_says_nothing_to_the_shard() -> None:
    handle = Handle()
    connection = connection_of(handle)
    for code in (4000, 4001, 1000):
        connection.close(code)
    assert handle.commands == ["end 4000"]
    for state in (sc.State.CLOSING, sc.State.CLOSED):
        handle = Handle(state)
        connection_of(handle).close()
        assert handle.commands == []
        with pytest.raises(ValueError, match="1005"):
            connection_of(handle).close(1005)


async def test_to_leave_what_one_is_not_in_says_nothing_to_the_shard() -> None:
    handle = Handle()
    connection = connection_of(handle)
    connection.unsubscribe("news")
    connection.subscribe("news")
    connection.unsubscribe("news")
    connection.unsubscribe("news")
    assert handle.commands == ["join news", "part news"]


async def test_a_push_route_is_told_once_of_each_leave() -> None:
    handle = Handle()
    # Of such a connection there is no request, and its shard alone knows its channels.
    connection = connection_of(handle, None)
    for _ in range(3):
        connection.unsubscribe("news")
    assert handle.commands == ["part news"]
    connection.subscribe("news")
    for _ in range(3):
        connection.unsubscribe("news")
    assert handle.commands == ["part news", "join news", "part news"]
    # What is no channel is not remembered: names must not gather.
    for _ in range(2):
        connection.unsubscribe("unknown")
    assert handle.commands[3:] == ["part unknown"] * 2
    assert connection._left == {"news"}


async def test_the_channel_of_a_push_route_can_be_left() -> None:
    server = server_with()
    server.push("/")
    server.on_connect(lambda request: sc.Accept(subscribe=["news"]))
    async with server, client(server) as peer:
        await until(lambda: server.publish_nowait("news", "first") == 1)
        [connection] = server.connections()
        connection.unsubscribe("news")
        await until(lambda: server.publish_nowait("news", "last") == 0)
        assert await peer.recv() == "first"


async def test_a_finished_connection_takes_no_task() -> None:
    server = server_with()
    found: list[object] = []
    ran: list[str] = []

    async def late() -> None:
        ran.append("late")

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass
        # It has ended, its handler has not: allowed, and cancelled with the handler's return.
        connection.create_task(asyncio.Event().wait())

    @server.on_close
    def closed(connection: sc.Connection[Any]) -> None:
        try:
            connection.create_task(late())
        except sc.ConnectionClosed as error:
            found.append(error.code)

    async with server:
        async with client(server):
            pass
        await until(lambda: found)
    assert found == [1000]
    assert ran == []


async def test_who_stops_waiting_for_a_shutdown_does_not_hurry_it() -> None:
    server = server_with(close_timeout=0.5)
    may_end = asyncio.Event()
    ended: list[str] = []

    @server.route("/")
    async def careful(connection: sc.Connection[None]) -> None:
        await connection.wait_closed()
        try:
            await may_end.wait()
            ended.append("in peace")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    await server.start()
    async with client(server) as peer:
        await until(server.connections)
        stopping = asyncio.create_task(server.shutdown(30))
        assert (await ending(peer))[0] == 1012
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert server._state == "stopping"
        may_end.set()
        async with asyncio.timeout(5):
            await server.wait_closed()
    assert ended == ["in peace"]


async def test_a_cancelled_shutdown_keeps_its_deadline() -> None:
    server = server_with(close_timeout=0.1)
    server.push("/")
    await server.start()
    peer = await asyncio.to_thread(peer_of, server)
    await until(server.connections)
    began = time.monotonic()
    stopping = asyncio.create_task(server.shutdown(0.5))
    await asyncio.sleep(0)
    stopping.cancel()
    # It answers no Close; what ends it is the deadline at the latest.
    async with asyncio.timeout(5):
        await server.wait_closed()
    assert time.monotonic() - began < 2
    peer.close()


def test_a_loop_that_ends_stops_the_server_at_once() -> None:
    server = server_with()

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        await asyncio.Event().wait()

    async def leave() -> None:
        await server.start()
        peers.append(await asyncio.to_thread(peer_of, server))
        await until(server.connections)
        asyncio.get_running_loop().create_task(server.shutdown(60))
        await asyncio.sleep(0)

    peers: list[Any] = []
    began = time.monotonic()
    asyncio.run(leave())
    assert time.monotonic() - began < 5
    assert server._native is None
    peers[0].close()


# Feeds.


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_whatever_a_source_raises_is_its_failure(error: type[BaseException]) -> None:
    server = server_with()
    attempts = 0

    async def again() -> AsyncIterator[str]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise error
        await asyncio.Event().wait()
        yield "never"

    async def once() -> AsyncIterator[str]:
        yield "first"
        raise error

    server.feed(again, channel="news")
    async with server:
        feed = server.feed(once(), channel="news")
        await until(lambda: feed.state == "failed")
        assert error.__name__ in feed.error
        await until(lambda: attempts == 2)


# Threads, processes and loops.


async def test_what_waits_or_starts_belongs_to_the_loops_thread() -> None:
    server = server_with()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        await connection.wait_closed()

    async def nothing() -> None:
        """Never runs."""

    async def source() -> AsyncIterator[str]:
        yield "never"

    async with server, client(server):
        await until(server.connections)
        [connection] = server.connections()
        feed = server.feed(source, channel="news", name="mine")
        calls: list[Callable[[], Any]] = [
            lambda: connection.create_task(nothing()),
            lambda: asyncio.run(connection.recv()),
            lambda: asyncio.run(connection.drain()),
            lambda: asyncio.run(connection.wait_closed()),
            lambda: connection.unsubscribe("news"),
            lambda: server.feed(source, channel="news", name="other"),
            feed.stop,
        ]
        for call in calls:
            with pytest.raises(sc.WrongThread):
                await asyncio.to_thread(call)
        assert list(server._feeds) == ["mine"]
        # This one may.
        await asyncio.to_thread(connection.close)
        await connection.wait_closed()


def test_a_loop_at_rest_is_told_of_and_loses_nothing() -> None:
    with asyncio.Runner() as runner:
        server = server_with()
        handled: list[str] = []

        @server.route("/")
        async def handler(connection: sc.Connection[None]) -> None:
            handled.append(connection.id)
            await connection.wait_closed()

        runner.run(server.start())
        peer = peer_of(server)
        with pytest.raises(RuntimeError, match=r"connections was called while .* loop does not run"):
            server.connections()

        async def handled_all() -> None:
            await until(lambda: handled)

        runner.run(handled_all())
        peer.close()
        runner.run(server.shutdown(2))


def test_a_server_made_before_a_fork_starts_in_the_child() -> None:
    program = """
        import asyncio, os
        import streamconductor as sc

        server = sc.Server(sc.Config(port=0, threads=1))
        server.push("/")

        async def serve():
            async with server:
                assert server.port

        if (child := os.fork()) == 0:
            asyncio.run(serve())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

        async def fork():
            await server.start()
            if (child := os.fork()) == 0:
                try:
                    server.publish_nowait("news", "")
                except sc.ForkedProcess:
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
            await server.shutdown(0)

        asyncio.run(fork())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=30)
