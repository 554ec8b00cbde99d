"""How a message gets to the task that waits for it, and what becomes of it when that task does not take it."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

import streamconductor as sc
from tests.support.live import client, server_with, until


async def test_a_message_outlives_the_await_that_it_was_meant_for() -> None:
    server = server_with()
    taken: asyncio.Future[list[str | bytes]] = asyncio.get_running_loop().create_future()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        receiver = connection._receiver
        is_resumed = asyncio.Event()
        # As a task waits; but it is cancelled when it has been resumed and before it takes the message.
        assert next(receiver) is receiver
        receiver.add_done_callback(lambda _: is_resumed.set(), context=contextvars.copy_context())
        await connection.send("ready")
        await is_resumed.wait()
        with pytest.raises(asyncio.CancelledError):
            receiver.throw(asyncio.CancelledError())
        taken.set_result([await connection.recv(), await connection.recv()])

    async with server, asyncio.timeout(10), client(server) as peer:
        await peer.recv()
        await peer.send("one")
        await peer.send("two")
        assert await taken == ["one", "two"]


async def test_one_task_at_a_time_receives_and_may_be_cancelled() -> None:
    server = server_with()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        for _ in range(3):
            waiting = asyncio.create_task(connection.recv())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await connection.recv()
            waiting.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await waiting
        await connection.send("ready")
        await connection.send(await connection.recv())

    async with server, asyncio.timeout(10), client(server) as peer:
        assert await peer.recv() == "ready"
        await peer.send("one")
        assert await peer.recv() == "one"


async def test_the_next_message_is_awaited_in_every_way_that_asyncio_has() -> None:
    server = server_with()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        await connection.send(await asyncio.create_task(anext(connection)))
        await connection.send(await asyncio.wait_for(anext(connection), 5))
        await connection.send((await asyncio.gather(anext(connection)))[0])
        await connection.send(await asyncio.ensure_future(anext(connection)))
        await connection.send(await anext(connection, "none"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.recv(), 0.01)
        await connection.send("none came")
        assert await anext(connection, "ended") == "ended"
        with pytest.raises(StopAsyncIteration):
            await anext(connection)

    async with server, asyncio.timeout(10):
        async with client(server) as peer:
            for number in range(5):
                await peer.send(str(number))
                assert await peer.recv() == str(number)
            assert await peer.recv() == "none came"
        await until(lambda: server.pool.occupied == 0)


async def test_a_task_is_resumed_in_its_own_context_and_as_itself() -> None:
    server = server_with()
    variable = contextvars.ContextVar[str]("variable", default="none")

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        variable.set(connection.id)
        task = asyncio.current_task()
        async for message in connection:
            assert variable.get() == connection.id
            assert asyncio.current_task() is task
            await connection.send(message)

    async with server, asyncio.timeout(10), client(server) as one, client(server) as other:
        for number in range(3):
            for peer in (one, other):
                await peer.send(str(number))
            assert [await peer.recv() for peer in (one, other)] == [str(number)] * 2
    assert variable.get() == "none"


async def test_a_loop_that_runs_within_a_task_gets_its_messages() -> None:
    # As libraries do that make `asyncio.run` work where a loop runs already.
    server = server_with()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        async for message in connection:
            await connection.send(message)

    async with server, asyncio.timeout(10), client(server) as peer:
        dispatcher = server._dispatcher
        loop, doorbell = asyncio.get_running_loop(), server._native.fileno()
        has_come = asyncio.Event()
        loop.remove_reader(doorbell)
        loop.add_reader(doorbell, has_come.set)
        await peer.send("one")
        await has_come.wait()
        loop.remove_reader(doorbell)
        loop.add_reader(doorbell, dispatcher.run)
        # In this very task, where the handler's cannot run.
        dispatcher.run()
        assert await peer.recv() == "one"


async def test_what_was_sent_precedes_the_end() -> None:
    server = server_with()
    taken: asyncio.Future[list[str | bytes]] = asyncio.get_running_loop().create_future()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        first = await connection.recv()
        await connection.wait_closed()
        rest = [await connection.recv(), await connection.recv()]
        for _ in range(2):
            with pytest.raises(sc.ConnectionClosedError):
                await connection.recv()
        taken.set_result([first, *rest])

    async with server, asyncio.timeout(10), client(server) as peer:
        for text in ("one", "two", "three"):
            await peer.send(text)
        peer.transport.abort()
        assert await taken == ["one", "two", "three"]
