"""What is called with the wrong thing says what is wrong, what it was given and what it takes, where it is called."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

import streamconductor as sc
from tests.support.live import client, server_with


@pytest.mark.parametrize("field", ["host", "admin_host"])
@pytest.mark.parametrize("name", ["nowhere.invalid", "a" * 70 + ".example", "no such name"])
async def test_a_host_without_an_address_is_a_bind_error(field: str, name: str) -> None:
    server = server_with(**{field: name, "admin_port": 0})
    with pytest.raises(sc.BindError, match=r"set Config\.host") as caught:
        await server.start()
    assert caught.value.filename == name
    assert not isinstance(caught.value, UnicodeError)
    with pytest.raises(sc.NotRunning):
        _ = server.port


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (
            lambda server: server.channel("a", high_water="x"),
            ValueError,
            "channel('a'): high_water = 'x' is no size",
        ),
        (
            lambda server: server.channel("a", high_water=-1),
            ValueError,
            "channel('a'): high_water = -1 must be above",
        ),
        (
            lambda server: server.channel("a", high_water=0),
            ValueError,
            "channel('a'): high_water = 0 must be above 0",
        ),
        (lambda server: server.channel(7), TypeError, "channel needs a str, not int"),
        (
            lambda server: server.on_health("db", interval="often"),
            ValueError,
            "on_health('db'): interval = 'often' is no duration",
        ),
        (
            lambda server: server.on_health("db", timeout=0),
            ValueError,
            "on_health('db'): timeout = 0 must be above 0",
        ),
        (
            lambda server: server.feed(5),
            TypeError,
            "feed takes an async iterable, or a callable that returns one, not",
        ),
        (lambda server: server.feed([("a", 1)]), TypeError, "not list; write an async generator function"),
    ],
)
def test_what_is_registered_wrong(call: Any, error: type[Exception], told: str) -> None:
    server = sc.Server(sc.Config())
    with pytest.raises(error, match=re.escape(told)):
        call(server)
    assert server._channels == {}
    assert server._feeds == {}


async def test_a_health_check_takes_durations_as_the_configuration_does() -> None:
    server = server_with()
    runs = asyncio.Event()
    count = 0

    @server.on_health("database", interval="10ms", timeout="1s")
    def database() -> sc.Health:
        nonlocal count
        count += 1
        if count == 3:
            runs.set()
        return sc.Health.ok()

    async with server:
        async with asyncio.timeout(5):
            await runs.wait()


async def test_what_is_sent_or_started_wrong() -> None:
    server = server_with()

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        await connection.send("ready")
        await connection.wait_closed()

    async def work() -> None:
        raise AssertionError("never called")

    async with server, client(server) as peer:
        assert await peer.recv() == "ready"
        [connection] = server.connections()
        wrong: Any
        for name in ("to", "exclude"):
            for wrong, told in (
                ("ada", f"broadcast: {name} is a list of connections, not str; for users there is user=…"),
                (connection, f"broadcast: {name} is a list of connections, not Connection"),
                (5, f"broadcast: {name} is a list of connections, not int"),
                (
                    [connection.id],
                    f"broadcast: {name} holds connections, not str; server.connection(id) finds one",
                ),
            ):
                with pytest.raises(TypeError, match=re.escape(told)):
                    await server.broadcast("x", **{name: wrong})
        for wrong, told in (
            (work, "create_task takes a coroutine, not function; call the `async def`"),
            (5, "not int"),
        ):
            with pytest.raises(TypeError, match=re.escape(told)):
                connection.create_task(wrong)
        await server.broadcast("last", to=iter([connection]))
        assert await peer.recv() == "last", "nothing went out before"


async def test_retry_after_is_changed_for_every_shard() -> None:
    server = server_with(threads=2, retry_after=2, max_connections=1, max_connections_per_address=None)

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        await connection.wait_closed()

    async def refused() -> set[str]:
        """What strangers are told, as many as make both shards speak."""
        found = set()
        for _ in range(4):
            with pytest.raises(InvalidStatus) as caught:
                async with client(server):
                    pass
            assert caught.value.response.status_code == 503
            found.add(caught.value.response.headers["Retry-After"])
        return found

    async with server, client(server):
        assert await refused() == {"2"}
        server.reconfigure(retry_after=7)
        assert await refused() == {"7"}
