"""What handlers, `close` and peers that fall silent end, and what the peer and the application see of it."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import BINARY, PING, PONG, TEXT, Frame, close, frame
from tests.support.raw import PATIENCE, Stopwatch
from tests.support.servers import Site, eventually

SLACK = 1.5

# Handlers.


class Sudden(BaseException):
    """An exception that `except Exception` does not catch."""


RAISED = [ValueError, KeyboardInterrupt, SystemExit, Sudden]


@pytest.mark.parametrize("error", RAISED)
def test_a_handler_that_raises_is_1011_and_logged_once(serve: Serve, error: type[BaseException]) -> None:
    """F33: on that connection only; the canary and a neighbour on the same route go on."""

    def application(server: sc.Server) -> None:
        @server.route("/raise")
        async def handler(connection: sc.Connection[Any]) -> None:
            async for message in connection:
                if message == "now":
                    raise error("secret")
                await connection.send(message)

    site = serve(application)
    site.expected_errors = 1
    with site.connect() as neighbour, site.connect() as peer:
        neighbour.upgrade("/raise")
        peer.upgrade("/raise")
        peer.echo()
        peer.send(frame(TEXT, b"now"))
        # What was raised is for the log.
        assert peer.closed() == (1011, "internal error")
        peer.send(close(1011))
        assert peer.ending() == "FIN"
        neighbour.echo()
        closed = site.ended()
        assert (closed.code, closed.ending, closed.by) == (1011, "handler_raised", "application")
        [record] = site.errors(1)
        assert record.exc_info is not None
        assert record.exc_info[0] is error
        neighbour.echo()
        assert site.endings.empty()


@pytest.mark.parametrize("error", RAISED)
def test_an_on_message_function_that_raises_is_1011_and_logged_once(
    serve: Serve, error: type[BaseException]
) -> None:
    def application(server: sc.Server) -> None:
        @server.on_message("/raise")
        def received(connection: sc.Connection[Any], message: str | bytes) -> None:
            if message == "now":
                raise error("secret")
            connection.send_nowait(message)

    site = serve(application)
    site.expected_errors = 1
    with site.connect() as neighbour, site.connect() as peer:
        neighbour.upgrade("/raise")
        peer.upgrade("/raise")
        peer.echo()
        peer.send(frame(TEXT, b"now"))
        assert peer.closed() == (1011, "internal error")
        neighbour.echo()
        [record] = site.errors(1)
        assert record.exc_info is not None
        assert record.exc_info[0] is error


@pytest.mark.parametrize("value", [None, 42, sc.Reject()], ids=["None", "a number", "a Reject"])
def test_a_handler_that_returns_is_1000(serve: Serve, value: Any) -> None:
    """F33: whatever it returns."""

    def application(server: sc.Server) -> None:
        @server.route("/return")
        async def handler(connection: sc.Connection[Any]) -> Any:
            await connection.send("last")
            return value

    site = serve(application)
    with site.connect() as peer:
        peer.upgrade("/return")
        assert peer.frame() == Frame(TEXT, b"last")
        assert peer.closed() == (1000, "")
        peer.send(close(1000))
        assert peer.ending() == "FIN"
    assert site.ended().code == 1000


def test_on_close_runs_once_when_ending_and_handler_meet(serve: Serve) -> None:
    """The ending is told while the handler's task has ended and nobody has been told of that."""
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
        # The loop stands still until the ending waits in the mailbox. Its next turn ends the handler, and then,
        # before the task's callbacks run, takes in what has happened.
        peer.close()
        assert eventually(lambda: site.server.pool.occupied == 1)
        go_on.set()
        site.loop.call_soon(site.server.connections)

    site.call(meet)
    assert site.ended().ending == "transport_lost"
    # Only the canary's handler is left.
    assert eventually(lambda: site.call(lambda: site.server._handlers.running) == 1)
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

WRONG_CALLS: dict[str, tuple[Any, type[Exception]]] = {
    "code 1005": (lambda connection: connection.close(1005), ValueError),
    "code 1006": (lambda connection: connection.close(1006), ValueError),
    "code 999": (lambda connection: connection.close(999), ValueError),
    "code 5000": (lambda connection: connection.close(5000), ValueError),
    "code as text": (lambda connection: connection.close("1000"), TypeError),
    "code True": (lambda connection: connection.close(True), TypeError),
    "reason of 124 bytes": (lambda connection: connection.close(1000, "x" * 124), ValueError),
    "reason of 62 ü": (lambda connection: connection.close(1000, "ü" * 62), ValueError),
    "reason as bytes": (lambda connection: connection.close(1000, b"bye"), TypeError),
    "reason with a surrogate": (lambda connection: connection.close(1000, "\ud800"), ValueError),
    "send of an object": (lambda connection: connection.send_nowait(object()), TypeError),
    "send of NaN": (lambda connection: connection.send_nowait(float("nan")), ValueError),
    "send of a surrogate": (lambda connection: connection.send_nowait("\ud800"), ValueError),
    "send of a surrogate in JSON": (lambda connection: connection.send_nowait(["\ud800"]), ValueError),
    "send above max_buffered": (lambda connection: connection.send_nowait(b"x" * (2 << 20)), ValueError),
    "a channel without a name": (lambda connection: connection.subscribe(""), ValueError),
    "a channel as bytes": (lambda connection: connection.subscribe(b"news"), TypeError),
    "a first message of NaN": (
        lambda connection: connection.subscribe("news", first=float("nan")),
        ValueError,
    ),
}


@pytest.mark.parametrize(("call", "error"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_wrong_call_raises_and_nothing_is_on_the_wire(
    serve: Serve, call: Any, error: type[Exception]
) -> None:
    """F34."""
    raised: queue.Queue[BaseException | None] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.on_message("/wrong")
        def wrong(connection: sc.Connection[Any], message: str | bytes) -> None:
            try:
                call(connection)
            except Exception as found:
                raised.put(found)
            else:
                raised.put(None)
            connection.send_nowait("next")

    site = serve(application)
    with site.connect() as peer:
        peer.upgrade("/wrong")
        peer.send(frame(TEXT, b"now"))
        # The next thing on the wire is the next message: no part of the wrong one, and the connection is open.
        assert peer.frame() == Frame(TEXT, b"next")
        found = raised.get(timeout=PATIENCE)
        assert isinstance(found, error), repr(found)
        peer.send(frame(PING, b"still there"))
        assert peer.frame() == Frame(PONG, b"still there")


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


def test_a_peer_that_never_answers_our_close_is_reset(serve: Serve) -> None:
    """F19: at close_timeout; the application sees 1006, once."""
    site, connections, raised = held(serve, close_timeout=0.3)
    with site.connect() as peer:
        peer.upgrade("/held")
        connections.get(timeout=PATIENCE).close(1000, "bye")
        assert peer.closed() == (1000, "bye")
        watch = Stopwatch()
        assert peer.ending() == "RST"
        assert 0.2 <= watch.seconds <= 0.3 + SLACK
    closed = site.ended()
    assert (closed.code, closed.ending, closed.by) == (1006, "close_timeout", "server")
    assert isinstance(raised.get(timeout=PATIENCE), sc.ConnectionClosedError)
    assert raised.empty()
    assert site.endings.empty()
    assert sc.Config().close_timeout == 5


def test_messages_in_flight_when_we_close_are_no_longer_heard(serve: Serve) -> None:
    site, connections, _ = held(serve)
    with site.connect() as peer:
        peer.upgrade("/held")
        connections.get(timeout=PATIENCE).close()
        assert peer.closed() == (1000, "")
        peer.send(frame(TEXT, b"crossing"), frame(PING, b"crossing"), close(1000))
        assert peer.ending() == "FIN"
    assert site.ended().received == (0, 0)


def test_disconnect_is_4403(serve: Serve) -> None:
    site = serve(on_connect=lambda request: sc.Accept(user="ada"))
    with site.connect() as peer:
        peer.upgrade()
        site.call(lambda: site.server.disconnect(user="ada", reason="banned"))
        assert peer.closed() == (4403, "banned")
        peer.send(close(4403))
        assert peer.ending() == "FIN"
    assert site.ended().ending == "disconnected"
