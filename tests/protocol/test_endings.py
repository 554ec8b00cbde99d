"""What handlers, `close` and peers that fall silent end, and what the peer and the application see of it."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import BINARY, Frame, close
from tests.support.raw import PATIENCE, Stopwatch
from tests.support.servers import Site, eventually

SLACK = 1.5

# Handlers.


def test_on_close_runs_once_when_ending_and_handler_meet(serve: Serve) -> None:
    """The ending is told in the turn in which the handler's task ends."""
    go_on = asyncio.Event()
    started = threading.Event()

    def application(server: sc.Server) -> None:
        @server.route("/wait")
        async def handler(connection: sc.Connection[Any]) -> None:
            started.set()
            await go_on.wait()

    site = serve(application)
    peer = site.open("/wait")
    assert started.wait(PATIENCE)

    def meet() -> None:
        # The loop stands still until the ending waits in the mailbox. Its next turn ends the handler, and
        # takes in what has happened.
        peer.close()
        assert eventually(lambda: site.server.pool.occupied == 1)
        go_on.set()
        site.loop.call_soon(site.server.connections)

    site.call(meet)
    assert site.ended().ending == "transport_lost"
    # Only the canary's handler is left.
    assert eventually(lambda: site.call(lambda: site.server._handlers.running) == 1)
    assert site.endings.empty()


@pytest.mark.parametrize("by", ["application", "server"])
def test_on_close_runs_once_for_a_handler_that_never_begins(serve: Serve, by: str) -> None:
    """Its task is cancelled before the first step, and the connection has ended by then."""
    begun = threading.Event()

    def application(server: sc.Server) -> None:
        @server.route("/never")
        async def handler(connection: sc.Connection[Any]) -> None:
            begun.set()

    # Only where nobody but the application knows of the cancellation the ending waits for the timeout.
    site = serve(application, handler_timeout=0.3 if by == "application" else 60.0)

    peer = site.connect()

    def cancel() -> None:
        handlers = site.server._handlers
        found = [life for life in handlers._lives.values() if life.connection.request.path == "/never"]
        if not found:
            # Behind this in the same turn, or in one that follows: then this is before the first step in the next.
            site.loop.call_soon(cancel)
            return
        [life] = found
        assert life.connection.closed is not None
        assert life.task is not None
        if by == "application":
            life.task.cancel()
        else:
            handlers._cancel(life)

    def stand_still() -> None:
        # Opening and ending wait in the mailbox together: what takes both in makes the task.
        peer.upgrade("/never")
        peer.close()
        assert eventually(lambda: site.server.pool.occupied == 1)
        site.loop.call_soon(cancel)

    site.call(stand_still)
    assert site.ended().ending == "transport_lost"
    assert eventually(lambda: site.call(lambda: site.server._handlers.running) == 1)
    assert not begun.is_set()
    assert site.endings.empty()


def test_a_handler_outlives_its_peer_until_it_awaits_the_connection(serve: Serve) -> None:
    go_on = asyncio.Event()
    seen: queue.Queue[object] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.route("/wait")
        async def handler(connection: sc.Connection[Any]) -> None:
            await go_on.wait()
            try:
                await connection.send("too late")
            except sc.ConnectionClosedError as error:
                seen.put((error.code, error.by))
                raise

    site = serve(application)
    with site.connect() as peer:
        peer.upgrade("/wait")
    assert eventually(lambda: site.occupied == 1)
    # `on_close` comes after the handler, which still runs.
    assert site.endings.empty()
    site.call(go_on.set)
    assert seen.get(timeout=PATIENCE) == (1006, "peer")
    assert site.ended().ending == "transport_lost"


def test_a_handler_that_never_ends_is_cancelled_after_handler_timeout(serve: Serve) -> None:
    cancelled = threading.Event()

    def application(server: sc.Server) -> None:
        @server.route("/hang")
        async def handler(connection: sc.Connection[Any]) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    site = serve(application, handler_timeout=0.3)
    with site.connect() as peer:
        peer.upgrade("/hang")
        watch = Stopwatch()
    assert cancelled.wait(PATIENCE)
    assert 0.25 <= watch.seconds <= 0.3 + SLACK
    assert site.ended().code == 1006


# What may not be sent.


@pytest.mark.parametrize("kind", [bytearray, memoryview], ids=["bytearray", "memoryview"])
def test_whatever_is_like_bytes_is_binary(serve: Serve, kind: Any) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/bytes")
        async def handler(connection: sc.Connection[Any]) -> None:
            await connection.send(kind(b"\x00\xff"))

    site = serve(application)
    with site.connect() as peer:
        peer.upgrade("/bytes")
        assert peer.frame() == Frame(BINARY, b"\x00\xff")


# `close`.


def held(serve: Serve, **settings: Any) -> tuple[Site, queue.Queue[sc.Connection[Any]], queue.Queue[Any]]:
    """A site whose `/held` connections the test gets, and what their handlers' `recv` raised."""
    connections: queue.Queue[sc.Connection[Any]] = queue.Queue()
    raised: queue.Queue[Any] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.route("/held")
        async def handler(connection: sc.Connection[Any]) -> None:
            connections.put(connection)
            try:
                while True:
                    await connection.recv()
            except sc.ConnectionClosed as error:
                raised.put(error)
                raise

    return serve(application, **settings), connections, raised


def test_close_is_sent_and_answered(serve: Serve) -> None:
    site, connections, raised = held(serve)
    with site.connect() as peer:
        peer.upgrade("/held")
        connection = connections.get(timeout=PATIENCE)
        # From a thread that is not the loop's, which `close` allows.
        connection.close(4321, "enough")
        assert peer.closed() == (4321, "enough")
        peer.send(close(4321))
        assert peer.ending() == "FIN"
    assert (raised.get(timeout=PATIENCE).code, site.ended().code) == (4321, 4321)


def test_a_second_close_changes_nothing(serve: Serve) -> None:
    site, connections, _ = held(serve)
    with site.connect() as peer:
        peer.upgrade("/held")
        connection = connections.get(timeout=PATIENCE)

        def twice() -> None:
            connection.close(4001, "first")
            connection.close(4002, "second")

        site.call(twice)
        assert peer.closed() == (4001, "first")
        peer.send(close(4001))
        assert peer.ending() == "FIN"
    assert site.ended().code == 4001


def test_disconnect_is_4403(serve: Serve) -> None:
    site = serve(on_connect=lambda request: sc.Accept(user="ada"))
    with site.connect() as peer:
        peer.upgrade()
        site.call(lambda: site.server.disconnect(user="ada", reason="banned"))
        assert peer.closed() == (4403, "banned")
        peer.send(close(4403))
        assert peer.ending() == "FIN"
    assert site.ended().ending == "disconnected"
