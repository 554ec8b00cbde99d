"""Whatever arguments an application calls with: it works, or raises what is documented, and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

import streamconductor as sc
from tests.support.examples import TEXT, anything, bounded, payloads
from tests.support.live import client, server_with, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# TypeError is Python's own word for an argument of another type than the signature's.
DOCUMENTED = (sc.StreamConductorError, ValueError, TypeError)
CHANNELS = st.one_of(st.sampled_from(["a", "b", "", "x" * 255, "é" * 128, "a\nb", "\ud800"]), TEXT, anything)
KEYS = st.one_of(st.none(), TEXT, anything)


class Live:
    """A server, and the connection that the examples are tried on."""

    def __init__(self) -> None:
        # Peers that do not read are none of this test's business: everything is read, and what is too much waits.
        self.server = server_with(max_buffered="256KiB", max_channels=10_000)
        self.connections: asyncio.Queue[sc.Connection[Any]] = asyncio.Queue()
        self.messages: list[str | bytes] = []

        @self.server.route("/")
        async def hold(connection: sc.Connection[Any]) -> None:
            self.connections.put_nowait(connection)
            async for message in connection:
                await connection.send(message)

    async def open(self) -> tuple[sc.Connection[Any], ClientConnection, asyncio.Task[None]]:
        peer = await client(self.server)

        async def read() -> None:
            with contextlib.suppress(ConnectionClosed):
                async for message in peer:
                    self.messages.append(message)

        return await self.connections.get(), peer, asyncio.create_task(read())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def live() -> AsyncIterator[Live]:
    live = Live()
    async with live.server:
        live.connection, live.peer, reader = await live.open()  # type: ignore[attr-defined]
        yield live
        # After all of them it still does what it is for.
        await live.peer.send("still there?")  # type: ignore[attr-defined]
        await until(lambda: "still there?" in live.messages)
        await live.peer.close()  # type: ignore[attr-defined]
        await reader
        await until(lambda: not live.server.connections())


async def tried(call: Callable[[], Any]) -> Any:
    """What a call returns, its result awaited if it is to be; the exception if it is a documented one."""
    try:
        result = call()
        return await asyncio.wait_for(result, 10) if isinstance(result, Awaitable) else result
    except DOCUMENTED as error:
        raised = error
    assert str(raised), f"{type(raised).__name__} says nothing"
    return raised


@bounded(200)
@given(channel=CHANNELS, payload=payloads, key=KEYS)
@example(channel="a", payload="\ud800", key=None)
@example(channel="a", payload={"a": float("nan")}, key="\ud800")
async def test_publish(live: Live, channel: Any, payload: Any, key: Any) -> None:
    waiting = await tried(lambda: live.server.publish(channel, payload, key=key))
    at_once = await tried(lambda: live.server.publish_nowait(channel, payload, key=key))
    assert type(waiting) is type(at_once)


@bounded(100)
@given(
    payload=payloads,
    user=KEYS,
    to=st.one_of(st.none(), st.booleans(), anything),
    exclude=st.one_of(st.just(()), anything),
)
async def test_broadcast(live: Live, payload: Any, user: Any, to: Any, exclude: Any) -> None:
    connection: sc.Connection[Any] = live.connection  # type: ignore[attr-defined]
    to = [connection] if to is True else to
    await tried(lambda: live.server.broadcast(payload, to=to, user=user, exclude=exclude))


@bounded(300)
@given(payload=payloads)
@example(payload="\ud800")
@example(payload=b"x" * 300_000)
async def test_send(live: Live, payload: Any) -> None:
    connection: sc.Connection[Any] = live.connection  # type: ignore[attr-defined]
    before = len(live.messages)
    failed = await tried(lambda: connection.send(payload))
    at_once = await tried(lambda: connection.send_nowait(payload))
    assert type(failed) is type(at_once) or isinstance(at_once, sc.Full)
    expected = [failed, at_once].count(None)
    await until(lambda: len(live.messages) == before + expected)
    for received in live.messages[before:]:
        assert isinstance(received, bytes) == isinstance(payload, bytes | bytearray | memoryview)
        if not isinstance(payload, str | bytes | bytearray | memoryview):
            json.loads(received, parse_constant=pytest.fail)
    await connection.drain()


@bounded(200)
@given(channel=CHANNELS, first=payloads)
async def test_subscribe(live: Live, channel: Any, first: Any) -> None:
    connection: sc.Connection[Any] = live.connection  # type: ignore[attr-defined]
    failed = await tried(lambda: connection.subscribe(channel, first))
    if failed is None:
        assert isinstance(channel, str)
        assert 1 <= len(channel.encode()) <= 255
    assert not isinstance(await tried(lambda: connection.unsubscribe(channel)), ValueError) or failed
    await connection.drain()


@bounded(40)
@given(
    code=st.one_of(st.integers(990, 1_020), st.integers(2_990, 5_010), anything),
    reason=st.one_of(st.just(""), TEXT, st.text(min_size=40, max_size=130), anything),
)
async def test_close(live: Live, code: Any, reason: Any) -> None:
    connection, peer, reader = await live.open()
    failed = await tried(lambda: connection.close(code, reason))
    if failed is None:
        await reader
        assert (peer.close_code, peer.close_reason) == (code, reason)
        assert (connection.close_code, connection.close_reason) == (code, reason)
    else:
        assert connection.state is sc.State.OPEN, "nothing was sent"
        await peer.close()
        await reader


@bounded(200)
@given(
    pattern=CHANNELS,
    overflow=st.one_of(st.sampled_from(["drop_oldest", "conflate"]), anything),
    high_water=st.one_of(st.none(), st.just("32KiB"), anything),
)
async def test_channel(live: Live, pattern: Any, overflow: Any, high_water: Any) -> None:
    await tried(lambda: live.server.channel(pattern, overflow=overflow, high_water=high_water))


PATHS = st.one_of(
    st.sampled_from(
        ["/", "/a/{b}", "/a/{b:path}", "/{b}/{b}", "/{b:path}/c", "//", "/a?b", "/%41", "/\ud800", "{"]
    ),
    TEXT.map("/".__add__),
    anything,
)


@bounded(80)
@given(
    path=PATHS,
    subprotocols=st.one_of(st.none(), st.lists(TEXT, max_size=2), anything),
    origins=st.one_of(st.none(), st.just("*"), st.lists(TEXT, max_size=2), anything),
    heartbeat=st.one_of(st.none(), TEXT, anything),
)
async def test_route(path: Any, subprotocols: Any, origins: Any, heartbeat: Any) -> None:
    server = server_with(threads=1)

    def register() -> None:
        @server.route(path, subprotocols=subprotocols, origins=origins, heartbeat_message=heartbeat)
        async def nothing(connection: sc.Connection[Any]) -> None: ...

    if await tried(register) is None and await tried(server.start) is None:
        await server.shutdown(0)
