"""Stopping: paced, with 1012, readiness red, probes answered to the end, nobody waited for longer than the grace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

import streamconductor as sc
from tests.support.live import client, ending, get, peer_of, ready, server_with, text, until


def idle_server(**settings: Any) -> sc.Server:
    server = server_with(**settings)

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass

    return server


async def closed_at(peer: ClientConnection, began: float) -> tuple[float, int]:
    """Seconds until it was told to go, and the code."""
    code, _ = await ending(peer, 10)
    return time.monotonic() - began, code


async def test_connections_leave_one_by_one_over_the_grace() -> None:
    server = idle_server(threads=2, close_timeout=0.5, shutdown_grace=3)
    async with server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(client(server)) for _ in range(60)]
        await until(lambda: len(server.connections()) == 60)
        began = time.monotonic()
        leaving = [asyncio.create_task(closed_at(peer, began)) for peer in peers]
        # Sixty at a hundred a second, which is faster than what the grace of 3 s would allow.
        await server.shutdown()
        took = time.monotonic() - began
        times, codes = zip(*sorted(await asyncio.gather(*leaving)), strict=True)
        assert set(codes) == {1012}
        assert times[0] < 0.15, "the first at once"
        assert times[-1] > 0.4, "not all at once"
        for number, at in enumerate(times):
            assert at < number / 60 * 0.6 + 0.3, (number, times)
        assert took < 1.5, "done as soon as the last has gone"


async def test_shards_that_are_busy_keep_the_pace() -> None:
    server = idle_server(threads=2, close_timeout=0.5, shutdown_grace=3)

    async def keep_busy() -> None:
        # Every question is a turn of every shard, and they come faster than ticks.
        while server._native is not None:
            with contextlib.suppress(sc.NotRunning):
                server.status()
            await asyncio.sleep(0.001)

    async with server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(client(server)) for _ in range(40)]
        await until(lambda: len(server.connections()) == 40)
        busy = asyncio.create_task(keep_busy())
        began = time.monotonic()
        leaving = [asyncio.create_task(closed_at(peer, began)) for peer in peers]
        await server.shutdown()
        times, codes = zip(*sorted(await asyncio.gather(*leaving)), strict=True)
        assert set(codes) == {1012}
        assert 0.25 < times[-1] < 0.8
        await busy


async def test_a_short_grace_leaves_time_for_closing_handshakes() -> None:
    # (grace - close_timeout - 1 s) is less than what a hundred a second would take.
    server = idle_server(threads=2, close_timeout=0.5, shutdown_grace=1.7)
    async with server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(client(server)) for _ in range(90)]
        await until(lambda: len(server.connections()) == 90)
        began = time.monotonic()
        leaving = [asyncio.create_task(closed_at(peer, began)) for peer in peers]
        await server.shutdown()
        times = sorted(at for at, _ in await asyncio.gather(*leaving))
        assert times[-1] < 0.6


async def test_meanwhile_probes_are_answered_and_newcomers_are_not_let_in() -> None:
    server = idle_server(close_timeout=1)
    ended: list[int | None] = []
    server.on_close(lambda connection: ended.append(connection.close_code))
    async with server:
        # It never answers a Close, so that the server waits for close_timeout.
        peer = await asyncio.to_thread(peer_of, server)
        await until(server.connections)
        stopping = asyncio.create_task(server.shutdown())
        assert (await asyncio.to_thread(peer.closed))[0] == 1012
        assert (await get(server.port, "/livez"))[0] == 200
        status, report = await ready(server)
        assert (status, report["level"]) == (503, "draining")
        with pytest.raises(InvalidStatus) as caught:
            await client(server)
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["Retry-After"]
        assert server.status()["level"]["name"] == "draining"
        assert not stopping.done()
        await stopping
        peer.close()
    assert ended == [1012]


async def test_what_is_pending_is_written_first() -> None:
    server = idle_server()
    async with server, client(server) as peer:
        await until(server.connections)
        [connection] = server.connections()
        for number in range(50):
            connection.send_nowait(f"{number}" + "x" * 10_000)
        stopping = asyncio.create_task(server.shutdown())
        received = [str(await peer.recv()) for _ in range(50)]
        with pytest.raises(ConnectionClosed):
            await peer.recv()
        assert [message[:-10_000] for message in received] == [str(number) for number in range(50)]
        await stopping


async def test_at_the_grace_sockets_are_reset_and_handlers_cancelled_and_on_close_still_runs() -> None:
    server = server_with(handler_timeout=60)
    told: list[str] = []

    @server.route("/")
    async def stubborn(connection: sc.Connection[None]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    @server.on_close
    async def ended(connection: sc.Connection[Any]) -> None:
        await asyncio.sleep(0)
        told.append(f"closed {connection.close_code}")

    async with server:
        # These read nothing and answer nothing.
        peers = [await asyncio.to_thread(peer_of, server) for _ in range(3)]
        await until(lambda: len(server.connections()) == 3)
        for connection in server.connections():
            connection.send_nowait(b"x" * 2_000_000)
        began = time.monotonic()
        await server.shutdown(0.3)
        assert 0.25 < time.monotonic() - began < 2
        for peer in peers:
            assert await asyncio.to_thread(peer.discard) == "RST"
            peer.close()
    assert told == ["cancelled"] * 3 + ["closed 1006"] * 3 or told == ["cancelled"] * 3 + ["closed 1012"] * 3


async def test_a_handler_that_ends_in_time_is_waited_for() -> None:
    server = server_with()
    finished = False

    @server.route("/")
    async def careful(connection: sc.Connection[None]) -> None:
        nonlocal finished
        async for _ in connection:
            pass
        await asyncio.sleep(0.3)
        finished = True

    async with server, client(server):
        await until(server.connections)
    assert finished


async def test_leaving_the_block_is_shutdown_and_an_exception_passes() -> None:
    server = idle_server()
    peers: list[ClientConnection] = []

    async def fail() -> None:
        async with server:
            peers.append(await client(server))
            await until(server.connections)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert (await ending(peers[0]))[0] == 1012
    with pytest.raises(sc.NotRunning):
        server.connections()


async def test_handlers_do_not_belong_to_who_started_the_server() -> None:
    server = idle_server()

    async def start() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.start())

    await start()
    async with client(server) as peer:
        await until(server.connections)
        await asyncio.gather(server.shutdown(), ending(peer))


async def test_publishers_that_wait_are_let_go() -> None:
    server = idle_server()
    async with server:
        waiting = asyncio.create_task(server._until_room("publish"))
        await asyncio.sleep(0)
    with pytest.raises(sc.NotRunning, match="publish needs a running server, and it is stopped"):
        await waiting


async def test_shutdown_under_load() -> None:
    server = server_with(threads=4)
    received = 0

    @server.route("/")
    async def busy(connection: sc.Connection[None]) -> None:
        nonlocal received
        connection.subscribe("news")
        async for message in connection:
            received += 1
            await connection.send(message)
            server.publish_nowait("news", "tick")

    async def hammer() -> None:
        with contextlib.suppress(ConnectionClosed):
            # The client reads no more than it is asked for: what else comes would keep it from seeing the end.
            async with client(server, max_queue=None, close_timeout=0.5) as peer:
                while True:
                    await peer.send("x" * 500)
                    await peer.recv()

    async with server:
        rivals = [asyncio.create_task(hammer()) for _ in range(30)]
        await until(lambda: received > 500)
        began = time.monotonic()
        await server.shutdown()
        assert time.monotonic() - began < 3
        await asyncio.gather(*rivals)


async def test_many_stops_in_a_row_with_clients_coming_in() -> None:
    server = idle_server(threads=2)
    is_over = False
    met = 0

    def knock() -> None:
        nonlocal met
        while not is_over:
            # Whatever a peer may see at such a moment: a refusal, a reset, nothing, or another server's port.
            with contextlib.suppress(AssertionError, OSError, sc.NotRunning), peer_of(server) as peer:
                peer.send(text("hello"))
                met += 1

    knocking = [asyncio.create_task(asyncio.to_thread(knock)) for _ in range(4)]
    try:
        for _ in range(8):
            before = met
            async with server:
                await until(lambda before=before: met > before + 5)  # type: ignore[misc]
                began = time.monotonic()
                await server.shutdown(0.5)
                assert time.monotonic() - began < 2
    finally:
        is_over = True
        await asyncio.gather(*knocking)
