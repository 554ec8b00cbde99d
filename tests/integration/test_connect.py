"""Connections that we open, to servers that others wrote and to ours."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve

import streamconductor as sc
from streamconductor.client.engine import _engines
from tests.support.live import server_with, until


@asynccontextmanager
async def websockets_server(handler: Any, **options: Any) -> AsyncIterator[str]:
    """The URL of a server of the `websockets` library."""
    async with serve(handler, "127.0.0.1", 0, **({"compression": None} | options)) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def native_threads() -> list[str]:
    """Those that engines have started; the kernel keeps fifteen letters of their names."""
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    return [name for name in names if name.startswith("streamconductor")]


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    yield
    # A loop over connections that was left is tidied up by the event loop.
    await until(lambda: not _engines.get(asyncio.get_running_loop()) and not native_threads())


async def test_messages_of_both_kinds_go_there_and_back() -> None:
    async with websockets_server(echo) as url, asyncio.timeout(10):
        async with sc.connect(url) as connection:
            for message in ("text", b"binary", "", "ü" * 70_000, b"b" * 500_000):
                await connection.send(message)
                assert await connection.recv() == message
            await connection.send({"a": 1})
            assert await connection.recv() == '{"a":1}'
            assert connection.state is sc.State.OPEN
        assert connection.state is sc.State.CLOSED
        assert connection.close_code == 1000


async def test_the_servers_close_is_told_with_code_and_reason() -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.send("last")
        await connection.close(4321, "enough")

    async with websockets_server(leave) as url, asyncio.timeout(10), sc.connect(url) as connection:
        assert await connection.recv() == "last"
        with pytest.raises(sc.ConnectionClosedError) as ended:
            await connection.recv()
        assert (ended.value.code, ended.value.reason, ended.value.by) == (4321, "enough", "peer")


async def test_iteration_ends_with_a_connection_that_ends_in_peace() -> None:
    async def count(connection: ServerConnection) -> None:
        for number in range(100):
            await connection.send(str(number))

    async with websockets_server(count) as url, asyncio.timeout(10), sc.connect(url) as connection:
        assert [message async for message in connection] == [str(number) for number in range(100)]


async def test_it_is_awaited_where_no_block_is_wanted() -> None:
    async with websockets_server(echo) as url, asyncio.timeout(10):
        connection = await sc.connect(url)
        await connection.send("one")
        assert await connection.recv() == "one"
        await connection.close()
        await until(lambda: not _engines.get(asyncio.get_running_loop()))


async def test_what_is_said_in_the_opening_handshake() -> None:
    seen: list[Any] = []

    async def handler(connection: ServerConnection) -> None:
        seen.append((connection.request.headers, connection.subprotocol))  # type: ignore[union-attr]

    async with (
        websockets_server(handler, subprotocols=["chat"]) as url,
        asyncio.timeout(10),
        sc.connect(
            url,
            headers={"X-One": "1"},
            subprotocols=["chat", "other"],
            origin="https://example.com",
            bearer_token="secret",
            user_agent="mine/1",
        ) as connection,
    ):
        assert connection.subprotocol == "chat"
        await connection.wait_closed()
    [(headers, subprotocol)] = seen
    assert subprotocol == "chat"
    assert headers["X-One"] == "1"
    assert headers["Origin"] == "https://example.com"
    assert headers["Authorization"] == "Bearer secret"
    assert headers["User-Agent"] == "mine/1"


async def test_compression_with_the_websockets_library() -> None:
    async with (
        websockets_server(echo, compression="deflate") as url,
        asyncio.timeout(10),
        sc.connect(url, compression=True) as connection,
    ):
        for message in ("x" * 10_000, "short", b"\x00" * 5_000):
            await connection.send(message)
            assert await connection.recv() == message


async def test_an_aiohttp_server() -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            await response.send_str(message.data)
        return response

    application = web.Application()
    application.router.add_get("/ws", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with asyncio.timeout(10), sc.connect(f"ws://127.0.0.1:{port}/ws") as connection:
            await connection.send("one")
            assert await connection.recv() == "one"
    finally:
        await runner.cleanup()


async def test_our_own_server_in_the_same_loop() -> None:
    server = server_with()

    @server.route("/")
    async def handler(connection: sc.Connection[None]) -> None:
        async for message in connection:
            await connection.send(message)

    async with server, asyncio.timeout(10):
        url = f"ws://127.0.0.1:{server.port}/"
        async with sc.connect(url) as one, sc.connect(url) as other:
            for connection in (one, other):
                await connection.send(connection.id)
            assert [await one.recv(), await other.recv()] == [one.id, other.id]


@pytest.mark.parametrize("status", [401, 404, 503])
async def test_a_status_is_an_exception_with_what_the_server_said(status: int) -> None:
    server = server_with()

    @server.on_connect
    def admit(request: sc.Request) -> sc.Reject:
        return sc.Reject(status, "no")

    server.push("/")
    async with server, asyncio.timeout(10):
        with pytest.raises(sc.HandshakeRefused) as refused:
            await sc.connect(f"ws://127.0.0.1:{server.port}/")
    assert refused.value.status == status


async def test_nobody_there_a_bad_url_and_a_server_that_is_silent() -> None:
    async with asyncio.timeout(20):
        silent = socket.create_server(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(sc.OpeningTimeout, match="open_timeout"):
            await sc.connect(f"ws://127.0.0.1:{port}", open_timeout=0.2)
        silent.close()
        with pytest.raises(sc.Unreachable):
            await sc.connect(f"ws://127.0.0.1:{port}")
        with pytest.raises(ValueError, match="url"):
            await sc.connect("ftp://example.com")


async def test_another_connection_is_opened_whenever_one_has_ended() -> None:
    opened = 0

    async def brief(connection: ServerConnection) -> None:
        nonlocal opened
        opened += 1
        await connection.send(str(opened))
        if opened < 3:
            connection.transport.abort()
        else:
            await connection.wait_closed()

    async with websockets_server(brief) as url, asyncio.timeout(20):
        heard = []
        async for connection in sc.connect(url, ping_interval=1):
            heard.append(await connection.recv())
            if len(heard) == 3:
                break
        assert heard == ["1", "2", "3"]


async def test_a_server_that_says_so_is_not_called_again() -> None:
    opened = 0

    async def forbid(connection: ServerConnection) -> None:
        nonlocal opened
        opened += 1
        await connection.close(4403, "banned")

    async with websockets_server(forbid) as url, asyncio.timeout(20):
        with pytest.raises(sc.ConnectionClosedError):
            await stay(sc.connect(url, ping_interval=1))
        assert opened == 1


async def test_a_token_that_has_expired_is_renewed_where_there_is_a_way() -> None:
    seen: list[str | None] = []

    async def expire(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers.get("Authorization"))
        if len(seen) == 1:
            await connection.close(4401, "token_expired")
        else:
            await connection.send("welcome")
            await connection.wait_closed()

    tokens = iter(["first", "second"])

    async def token() -> str:
        return next(tokens)

    async with websockets_server(expire) as url, asyncio.timeout(20):
        async for connection in sc.connect(url, bearer_token=token, ping_interval=1):
            if [message async for message in connection_messages(connection)]:
                break
        assert seen == ["Bearer first", "Bearer second"]
        seen.clear()
        with pytest.raises(sc.ConnectionClosedError) as ended:
            await stay(sc.connect(url, bearer_token="only", ping_interval=1))
        assert ended.value.code == 4401
        assert seen == ["Bearer only"]


async def stay(connections: sc.connect) -> None:
    """Keeps connected for as long as it can be."""
    async for connection in connections:
        await connection.wait_closed()


async def connection_messages(connection: sc.Connection[None]) -> AsyncIterator[str | bytes]:
    """The first message, if one comes before the end."""
    try:
        yield await connection.recv()
    except sc.ConnectionClosed:
        return


async def test_a_connection_of_ours_has_no_request() -> None:
    async with websockets_server(echo) as url, asyncio.timeout(10), sc.connect(url) as connection:
        with pytest.raises(LookupError, match="connect"):
            _ = connection.request


async def test_a_connection_of_ours_has_no_channels() -> None:
    async with websockets_server(echo) as url, asyncio.timeout(10), sc.connect(url) as connection:
        with pytest.raises(TypeError, match="no channels"):
            connection.subscribe("news")
