"""The life of handlers and `on_message` functions: how it begins, ends, and that nobody else feels it."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from pydantic import BaseModel

import streamconductor as sc
from tests.support.live import client, ending, peer_of, server_with, text, until


async def test_returning_closes_with_1000() -> None:
    server = server_with()

    @server.route("/")
    async def once(connection: sc.Connection[None]) -> None:
        await connection.send(await connection.recv())

    async with server, client(server) as peer:
        await peer.send("only")
        assert await peer.recv() == "only"
        assert await ending(peer) == (1000, "")


async def test_raising_closes_that_connection_with_1011_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = server_with()

    @server.route("/")
    async def fragile(connection: sc.Connection[None]) -> None:
        async for message in connection:
            if message == "break":
                raise LookupError("this one")
            await connection.send(message)

    async with server, client(server) as bad, client(server) as good:
        await bad.send("break")
        assert await ending(bad) == (1011, "internal error")
        await good.send("fine")
        assert await good.recv() == "fine"
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "this one"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_no_exception_of_a_handler_reaches_the_server(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    server = server_with()

    @server.route("/")
    async def fragile(connection: sc.Connection[None]) -> None:
        if await connection.recv() == "break":
            raise error
        await connection.send("fine")

    async with server, client(server) as good, client(server) as bad:
        await bad.send("break")
        assert (await ending(bad))[0] == 1011
        await good.send("go on")
        assert await good.recv() == "fine"


async def test_many_exceptions_are_logged_at_a_rate(caplog: pytest.LogCaptureFixture) -> None:
    server = server_with()

    @server.route("/")
    async def fragile(connection: sc.Connection[None]) -> None:
        raise LookupError

    async with server:
        peers = await asyncio.gather(*(client(server) for _ in range(50)))
        codes = [await ending(peer) for peer in peers]
        assert codes == [(1011, "internal error")] * 50
        # At most ten a second, and one line for those left out: even four seconds would give less than fifty.
        assert 10 <= len([record for record in caplog.records if record.exc_info]) < 50


async def test_a_peer_that_is_gone_is_told_by_the_next_await() -> None:
    server = server_with()
    found: list[BaseException] = []
    may_go_on = asyncio.Event()

    @server.route("/")
    async def patient(connection: sc.Connection[None]) -> None:
        await connection.send("ready")
        await may_go_on.wait()
        for call in (connection.recv, connection.drain, lambda: connection.send("x")):
            try:
                await call()
            except sc.ConnectionClosed as error:
                found.append(error)

    ended: list[sc.Connection[Any]] = []
    server.on_close(ended.append)
    async with server:
        async with client(server) as peer:
            assert await peer.recv() == "ready"
            [connection] = server.connections()
        await until(lambda: connection.closed)
        assert not ended, "on_close comes after the handler"
        may_go_on.set()
        await until(lambda: ended)
    # `drain` has nothing to wait for.
    assert [type(error) for error in found] == [sc.ConnectionClosedOK, sc.ConnectionClosedOK]
    assert ended == [connection]
    assert (connection.close_code, connection.close_reason) == (1000, "")
    assert connection.state is sc.State.CLOSED


async def test_messages_that_came_before_the_end_are_still_received() -> None:
    server = server_with()
    may_read = asyncio.Event()
    received: list[str | bytes] = []

    @server.route("/")
    async def late(connection: sc.Connection[None]) -> None:
        await may_read.wait()
        received.extend([message async for message in connection])

    async with server:
        async with client(server) as peer:
            for number in range(3):
                await peer.send(str(number))
            await until(lambda: server.connections())
            [connection] = server.connections()
        await until(lambda: connection.closed)
        may_read.set()
        await until(lambda: not server._handlers.running)
    assert received == ["0", "1", "2"]


async def test_handler_timeout_cancels_and_on_close_comes_once_behind_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = server_with(handler_timeout=0.2)
    order: list[str] = []

    @server.route("/")
    async def stubborn(connection: sc.Connection[None]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            order.append("cancelled")
            raise

    @server.on_close
    async def ended(connection: sc.Connection[Any]) -> None:
        await asyncio.sleep(0)
        order.append(f"closed {connection.close_code}")

    async with server:
        async with client(server):
            pass
        await until(lambda: not server._handlers.running)
    assert order == ["cancelled", "closed 1000"]
    assert "did not end in time" in caplog.text


async def test_every_on_close_is_called_once_even_if_another_raises(caplog: pytest.LogCaptureFixture) -> None:
    server = server_with()
    called: list[str] = []

    @server.on_message("/")
    def ignore(connection: sc.Connection[None], message: str | bytes) -> None:
        """Takes nothing."""

    @server.on_close
    def first(connection: sc.Connection[Any]) -> None:
        called.append("first")
        raise LookupError

    @server.on_close
    async def second(connection: sc.Connection[Any]) -> None:
        called.append("second")

    async with server:
        async with client(server):
            pass
        await until(lambda: len(called) == 2)
    assert called == ["first", "second"]
    assert "on_close raised" in caplog.text


async def test_two_tasks_may_not_receive_at_once() -> None:
    server = server_with()
    refused: list[str] = []

    @server.route("/")
    async def split(connection: sc.Connection[None]) -> None:
        first = connection.create_task(connection.recv())
        await asyncio.sleep(0)
        try:
            await connection.recv()
        except RuntimeError as error:
            refused.append(str(error))
        await connection.send(await first)

    async with server, client(server) as peer:
        await peer.send("to the first")
        assert await peer.recv() == "to the first"
    assert refused == ["recv is awaited by another task already; one task at a time may receive"]


async def test_a_cancelled_recv_loses_no_message() -> None:
    server = server_with()

    @server.route("/")
    async def impatient(connection: sc.Connection[None]) -> None:
        while True:
            try:
                async with asyncio.timeout(0.002):
                    message = await connection.recv()
            except TimeoutError:
                continue
            await connection.send(message)

    async with server, client(server) as peer:
        for number in range(50):
            await peer.send(str(number))
            await asyncio.sleep(0.002 * (number % 3))
        assert [await peer.recv() for _ in range(50)] == [str(number) for number in range(50)]


class Order(BaseModel):
    item: str
    count: int


async def test_messages_of_a_model() -> None:
    server = server_with()

    @server.route("/")
    async def orders(connection: sc.Connection[None]) -> None:
        async for order in connection.messages(Order):
            await connection.send(f"{order.count} × {order.item}")

    async with server:
        async with client(server) as peer:
            await peer.send('{"item": "tea", "count": 2}')
            assert await peer.recv() == "2 × tea"
            await peer.send(b"\x00")
            assert (await ending(peer))[0] == 1003
        async with client(server) as peer:
            await peer.send('{"item": "tea", "count": "many"}')
            code, reason = await ending(peer)
            assert code == 1007
            assert "count" in reason
            assert "many" not in reason


async def test_a_handler_may_catch_what_the_model_refuses() -> None:
    server = server_with()

    @server.route("/")
    async def forgiving(connection: sc.Connection[None]) -> None:
        while connection.closed is None:
            try:
                async for order in connection.messages(Order):
                    await connection.send(order)
            except sc.InvalidMessage:
                await connection.send("again, please")

    async with server, client(server) as peer:
        await peer.send("{")
        assert await peer.recv() == "again, please"
        await peer.send('{"item": "tea", "count": 2}')
        assert await peer.recv() == '{"item":"tea","count":2}'


async def test_tasks_of_a_connection_end_with_it(caplog: pytest.LogCaptureFixture) -> None:
    server = server_with()
    cancelled = asyncio.Event()

    async def tick() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fail() -> None:
        raise LookupError("in a task")

    @server.route("/")
    async def busy(connection: sc.Connection[None]) -> None:
        connection.create_task(tick())
        assert await connection.create_task(fail()) is None
        await connection.send("started")
        async for _ in connection:
            pass

    async with server:
        async with client(server) as peer:
            assert await peer.recv() == "started"
            assert not cancelled.is_set()
        async with asyncio.timeout(5):
            await cancelled.wait()
    assert "in a task" in caplog.text


async def test_close_acts_when_called_and_may_be_awaited_or_ignored() -> None:
    server = server_with()

    @server.route("/ignored")
    async def ignored(connection: sc.Connection[None]) -> None:
        connection.close(4000, "bye")
        assert await anext(connection, None) is None

    closed: list[int | None] = []

    @server.route("/awaited")
    async def awaited(connection: sc.Connection[None]) -> None:
        await connection.close(4001)
        closed.append(connection.close_code)
        # Once ended, awaiting it again returns at once.
        await connection.close()

    async with server:
        async with client(server, "/ignored") as peer:
            assert await ending(peer) == (4000, "bye")
        async with client(server, "/awaited") as peer:
            assert await ending(peer) == (4001, "")
        await until(lambda: closed)
    assert closed == [4001]


async def test_close_from_another_thread() -> None:
    server = server_with()

    @server.route("/")
    async def patient(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass

    async with server, client(server) as peer:
        await until(server.connections)
        [connection] = server.connections()
        await asyncio.to_thread(connection.close, 4002, "from afar")
        assert await ending(peer) == (4002, "from afar")


@pytest.mark.parametrize(
    ("code", "reason"), [(1005, ""), (1006, ""), (999, ""), (5000, ""), (1000, "x" * 124)]
)
async def test_close_refuses_what_may_not_be_sent(code: int, reason: str) -> None:
    server = server_with()

    @server.route("/")
    async def careless(connection: sc.Connection[None]) -> None:
        with pytest.raises(ValueError, match=r"."):
            connection.close(code, reason)
        await connection.send("still open")

    async with server, client(server) as peer:
        assert await peer.recv() == "still open"


async def test_what_was_sent_before_close_arrives() -> None:
    server = server_with()

    @server.route("/")
    async def farewell(connection: sc.Connection[None]) -> None:
        for number in range(100):
            connection.send_nowait(f"{number}")
        connection.close()

    async with server, client(server) as peer:
        assert [message async for message in peer] == [f"{number}" for number in range(100)]


# on_message


async def test_on_message_is_called_per_message_and_its_exception_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = server_with()
    calls: list[str | bytes] = []

    @server.on_message("/")
    def picky(connection: sc.Connection[None], message: str | bytes) -> None:
        calls.append(message)
        if message == "break":
            raise LookupError("picky")
        connection.send_nowait(message)

    async with server, client(server) as good:
        bad = await asyncio.to_thread(peer_of, server)
        # In one write, so that what follows is on its way already when the first has failed.
        bad.send(text("break"), text("break"), text("behind"))
        assert await asyncio.to_thread(bad.closed) == (1011, "internal error")
        bad.close()
        await good.send(b"\x01")
        assert await good.recv() == b"\x01"
    assert calls == ["break", b"\x01"]
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_on_message_hears_messages_in_order_whatever_it_calls() -> None:
    server = server_with()
    heard: list[str | bytes] = []

    @server.on_message("/")
    def curious(connection: sc.Connection[None], message: str | bytes) -> None:
        # Both look at what the shards have said meanwhile.
        assert connection in server.connections()
        assert server.connection(connection.id) is connection
        heard.append(message)

    async with server, client(server) as peer:
        for number in range(500):
            await peer.send(str(number))
        await until(lambda: len(heard) == 500)
    assert heard == [str(number) for number in range(500)]


def test_on_message_refuses_coroutine_functions_and_names_route() -> None:
    server = server_with()
    with pytest.raises(TypeError, match="route"):

        @server.on_message("/")
        async def wrong(connection: sc.Connection[None], message: str | bytes) -> None: ...


def test_route_refuses_plain_functions_and_names_on_message() -> None:
    server = server_with()
    with pytest.raises(TypeError, match="on_message"):

        @server.route("/")
        def wrong(connection: sc.Connection[None]) -> None: ...


async def test_a_push_route_takes_no_message_and_has_no_object_until_asked_for() -> None:
    server = server_with()
    server.push("/prices")

    def objects() -> int:
        gc.collect()
        return sum(isinstance(one, sc.Connection) for one in gc.get_objects())

    before = objects()
    async with server:
        async with client(server, "/prices") as peer:
            # Nobody has subscribed it: broadcasts still reach it.
            await server.broadcast("hello")
            assert await peer.recv() == "hello"
            assert objects() == before
            [connection] = server.connections(path="/prices")
            assert server.connections() == [connection]
            connection.subscribe("prices")
            await connection.send("directly")
            assert await peer.recv() == "directly"
            assert await server.publish("prices", "1.08") == 1
            assert await peer.recv() == "1.08"
            await peer.send("not wanted")
            assert (await ending(peer))[0] == 1003
        await until(lambda: connection.closed)
        assert server.connections() == []
