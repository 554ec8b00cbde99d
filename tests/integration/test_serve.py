"""`sc.serve` and `sc.broadcast`: code that was written for `websockets` runs with another import."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import websockets.asyncio.server
import websockets.exceptions
from websockets.asyncio.client import ClientConnection, connect

import streamconductor as sc
from tests.support.connect_four import first_part, second_part

# The one line that changes. The library that is imitated shows that the scenarios are right.
LIBRARIES = {
    "websockets": SimpleNamespace(
        serve=websockets.asyncio.server.serve,
        broadcast=websockets.asyncio.server.broadcast,
        ConnectionClosedOK=websockets.exceptions.ConnectionClosedOK,
        ConnectionClosedError=websockets.exceptions.ConnectionClosedError,
    ),
    "streamconductor": sc,
}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Any:
    return LIBRARIES[request.param]


def url(server: Any, path: str = "/") -> str:
    if isinstance(server, sc.Server):
        return f"ws://127.0.0.1:{server.port}{path}"
    # With port 0 it takes another one for each family.
    [address] = [each.getsockname() for each in server.sockets if each.family == socket.AF_INET]
    return f"ws://127.0.0.1:{address[1]}{path}"


async def events(client: ClientConnection, count: int) -> list[Any]:
    async with asyncio.timeout(5):
        return [json.loads(await client.recv()) for _ in range(count)]


def move(column: int) -> str:
    return json.dumps({"type": "play", "column": column})


@pytest.mark.parametrize("way", ["by recv", "by iteration"])
async def test_the_tutorial_s_first_part(library: Any, way: str) -> None:
    async with library.serve(first_part(library), "localhost", 0) as server, connect(url(server)) as client:
        await client.send(way)
        for column in (3, 4, 3, 4, 3, 4, 3):
            await client.send(move(column))
        *played, won = await events(client, 8)
        assert played[-1] == {"type": "play", "player": "red", "column": 3, "row": 3}
        assert won == {"type": "win", "player": "red"}


async def test_the_tutorial_s_second_part(library: Any) -> None:
    async with library.serve(second_part(library), "", 0) as server, connect(url(server)) as red:
        await red.send('{"type": "init"}')
        [begun] = await events(red, 1)
        await red.send(move(0))
        [first] = await events(red, 1)
        async with connect(url(server)) as yellow, connect(url(server)) as watching:
            await yellow.send(json.dumps({"type": "init", "join": begun["join"]}))
            await watching.send(json.dumps({"type": "init", "watch": begun["watch"]}))
            # What was played before is replayed, and what is played now is broadcast, in this order.
            assert await events(yellow, 1) == await events(watching, 1) == [first]
            for player, column in ((yellow, 1), (red, 0), (yellow, 1), (red, 0), (yellow, 1), (red, 0)):
                await player.send(move(column))
                told = [await events(each, 1) for each in (red, yellow, watching)]
                assert told[0] == told[1] == told[2]
            won = [{"type": "win", "player": "red"}]
            assert await events(red, 1) == await events(yellow, 1) == await events(watching, 1) == won
            await red.send(move(2))
            assert (await events(red, 1))[0]["message"] == "it is not your turn"
        async with connect(url(server)) as late:
            await late.send('{"type": "init", "join": "unknown"}')
            assert (await events(late, 1))[0]["message"] == "there is no such game"
            async with asyncio.timeout(5):
                await late.wait_closed()
            assert late.close_code == 1000


async def test_a_handler_that_raises(library: Any) -> None:
    async def handler(connection: Any) -> None:
        raise LookupError

    async with library.serve(handler, "localhost", 0) as server, connect(url(server)) as client:
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011


@pytest.mark.parametrize(
    ("code", "name"),
    [(1000, "ConnectionClosedOK"), (1001, "ConnectionClosedOK"), (4000, "ConnectionClosedError")],
)
async def test_the_end_of_a_connection(library: Any, code: int, name: str) -> None:
    raised: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(connection: Any) -> None:
        try:
            await connection.recv()
        except (library.ConnectionClosedOK, library.ConnectionClosedError) as error:
            raised.set_result(error)

    async with library.serve(handler, "localhost", 0) as server:
        client = await connect(url(server))
        await client.close(code, "bye")
        async with asyncio.timeout(5):
            error = await raised
        assert type(error) is getattr(library, name)
        assert (error.rcvd.code, error.rcvd.reason) == (code, "bye")


async def test_it_may_be_awaited(library: Any) -> None:
    async def handler(connection: Any) -> None:
        await connection.send(connection.subprotocol or "none")

    server = await library.serve(handler, host="localhost", port=0, subprotocols=["chat"])
    serving = asyncio.create_task(server.serve_forever())
    async with connect(url(server, "/any/path?at=all"), subprotocols=["chat"]) as client:  # type: ignore[list-item]
        assert await client.recv() == "chat"
    serving.cancel()
    await asyncio.wait([serving])
    if isinstance(server, sc.Server):
        await server.shutdown()
    await server.wait_closed()


# Options.


def config_of(**options: Any) -> sc.Config:
    async def handler(connection: Any) -> None: ...

    return sc.serve(handler, "localhost", 0, **options)._server.config


def test_options_that_have_another_name_here() -> None:
    config = config_of(max_size=5000, write_limit=8192)
    assert (config.max_message_size, config.max_frame_size) == (5000, 5000)
    assert (config.high_water, config.low_water) == (8192, 2048)
    config = config_of(max_size=(5000, 100), write_limit=(8192, 1))
    assert (config.max_message_size, config.max_frame_size) == (5000, 100)
    assert (config.high_water, config.low_water) == (8192, 1)


def test_options_of_the_same_name() -> None:
    config = config_of(
        open_timeout=3,
        close_timeout=2,
        ping_interval=5,
        ping_timeout=4,
        subprotocols=None,
        backlog=10,
        max_channels=3,
    )
    assert (config.open_timeout, config.close_timeout) == (3, 2)
    assert (config.ping_interval, config.ping_timeout) == (5, 4)
    assert (config.subprotocols, config.backlog, config.max_channels) == ((), 10, 3)
    config = config_of(
        ping_interval=None, ping_timeout=None, compression=None, process_request=None, ssl=None
    )
    assert (config.ping_interval, config.compression) == (None, False)


def test_compression(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_of(compression="deflate").compression is True
    monkeypatch.setenv("STREAMCONDUCTOR_COMPRESSION", "true")
    assert config_of().compression is True
    assert config_of(compression=None).compression is False
    monkeypatch.setenv("STREAMCONDUCTOR_COMPRESSION", "off")
    assert config_of().compression is False


def test_origins() -> None:
    assert config_of().origins is None
    assert config_of(origins=None).origins == "*"
    assert config_of(origins=["https://example.com", None]).origins == ("https://example.com",)


def test_host_and_port_left_out_are_those_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(connection: Any) -> None: ...

    monkeypatch.setenv("STREAMCONDUCTOR_PORT", "1234")
    config = sc.serve(handler)._server.config
    assert (config.host, config.port) == ("127.0.0.1", 1234)


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("process_request", lambda connection, request: None, "Server.on_connect"),
        ("select_subprotocol", lambda connection, offered: None, "Accept"),
        ("max_queue", 16, "max_inbound"),
        ("max_queue", None, "max_inbound"),
        ("max_size", None, "max_message_size"),
        ("max_size", (None, 100), "max_message_size"),
        ("ping_timeout", None, "ping_interval=None"),
        ("ssl", object(), "tls_certificate"),
        ("unix", True, "unix_socket"),
        ("compression", "gzip", "deflate"),
        ("origins", [object()], "request.origin"),
        ("max_conections", 3, "max_connections"),
    ],
)
def test_what_does_not_exist_says_what_does(option: str, value: object, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        config_of(**{option: value})


def test_a_value_that_breaks_a_promise() -> None:
    with pytest.raises(sc.ConfigError, match="open_timeout"):
        config_of(open_timeout=10)


# broadcast.


@pytest.fixture
async def room() -> AsyncIterator[tuple[set[sc.Connection[Any]], list[ClientConnection]]]:
    """Three connections, as the server and as their clients see them."""
    connected: set[sc.Connection[Any]] = set()

    async def handler(connection: sc.Connection[Any]) -> None:
        connected.add(connection)
        await connection.send("welcome")
        await connection.wait_closed()

    async with sc.serve(handler, "localhost", 0) as server:
        clients = [await connect(url(server)) for _ in range(3)]
        assert [await client.recv() for client in clients] == ["welcome"] * 3
        yield connected, clients
        for client in clients:
            await client.close()


Room = tuple[set[sc.Connection[Any]], list[ClientConnection]]


async def test_broadcast_reaches_all(room: Room) -> None:
    connected, clients = room
    for message in ("text", b"bytes", memoryview(b"view"), {"json": [1]}):
        sc.broadcast(connected, message)
    for client in clients:
        assert [await client.recv() for _ in range(4)] == ["text", b"bytes", b"view", '{"json":[1]}']


async def test_broadcast_with_the_other_type(room: Room) -> None:
    connected, clients = room
    sc.broadcast(connected, b"[1]", text=True)
    sc.broadcast(connected, "1", text=False)
    for client in clients:
        assert [await client.recv(), await client.recv()] == ["[1]", b"1"]


async def test_broadcast_leaves_out_who_has_gone(room: Room) -> None:
    connected, [gone, *others] = room
    await gone.close()
    async with asyncio.timeout(5):
        await asyncio.wait(
            [asyncio.ensure_future(connection.wait_closed()) for connection in connected],
            return_when=asyncio.FIRST_COMPLETED,
        )
    sc.broadcast(connected, "still here")
    sc.broadcast([], "nobody")
    for client in others:
        assert await client.recv() == "still here"


async def test_broadcast_over_two_servers() -> None:
    connected: set[Any] = set()

    async def handler(connection: sc.Connection[Any]) -> None:
        connected.add(connection)
        await connection.send("welcome")
        await connection.wait_closed()

    async with (
        sc.serve(handler, "localhost", 0) as one,
        sc.serve(handler, "localhost", 0) as other,
        connect(url(one)) as first,
        connect(url(other)) as second,
    ):
        await first.recv()
        await second.recv()
        sc.broadcast(connected, "both")
        assert await first.recv() == await second.recv() == "both"


async def test_broadcast_belongs_to_the_loop_s_thread(room: Room) -> None:
    connected, _ = room
    with pytest.raises(sc.WrongThread):
        await asyncio.to_thread(sc.broadcast, connected, "text")


# The guide.

GUIDE = (Path(__file__).parents[2] / "docs" / "migration-from-websockets.md").read_text()


def test_the_guide_s_samples_run() -> None:
    first, last = (block.partition("```")[0] for block in GUIDE.split("```python\n")[1:])
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(first, "first sample", "exec"), names)
    assert asyncio.iscoroutinefunction(names["main"])
    exec(compile(last, "last sample", "exec"), names)
    assert isinstance(names["server"], sc.Server)


OPTIONS = set(inspect.signature(websockets.asyncio.server.serve).parameters) - {"handler", "kwargs"}


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_the_guide_names_every_option_of_the_library(option: str) -> None:
    assert f"`{option}`" in GUIDE


@pytest.mark.parametrize("option", sorted(OPTIONS - {"host", "port"}))
def test_no_option_of_the_library_is_merely_unknown(option: str) -> None:
    with pytest.raises((TypeError, sc.ConfigError)) as caught:
        config_of(**{option: object()})
    assert "the nearest is" not in str(caught.value)
