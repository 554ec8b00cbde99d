"""Pings, latency, heartbeat messages, idle connections, and peers that are dead."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import streamconductor as sc
from tests.support import frames
from tests.support.live import client, ending, peer_of, server_with, text, until


def idle_server(**settings: Any) -> sc.Server:
    server = server_with(**settings)

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass

    return server


async def test_latency_is_the_last_round_trip() -> None:
    server = idle_server(ping_interval=0.2)
    async with server, client(server):
        await until(server.connections)
        [connection] = server.connections()
        assert connection.latency is None
        await until(lambda: connection.latency is not None)
        assert connection.latency is not None
        assert 0 < connection.latency < 0.2
        assert server.status()["shards"]["pings"] >= 1


async def test_a_dead_peer_is_found_within_its_bound_and_a_quiet_one_is_not() -> None:
    interval = 0.3
    server = idle_server(ping_interval=interval)
    endings: dict[str, sc.Closed] = {}

    @server.on_close
    def ended(connection: sc.Connection[Any]) -> None:
        assert connection.closed is not None
        endings[connection.id] = connection.closed

    async with server, client(server):
        # It reads nothing, so it answers no ping.
        began = time.monotonic()
        peer = await asyncio.to_thread(peer_of, server)
        await until(lambda: endings)
        took = time.monotonic() - began
        [closed] = endings.values()
        assert (closed.code, closed.ending, closed.by) == (1006, "heartbeat_lost", "server")
        # ping_interval + ping_timeout + tick; the rest of three intervals is the client's first retry.
        assert interval < took < 2 * interval + 0.2
        assert await asyncio.to_thread(peer.discard) == "RST"
        peer.close()
        assert len(server.connections()) == 1, "websockets answers pings"
        assert server.status()["endings"]["heartbeat_lost"] == 1


async def test_any_byte_is_life() -> None:
    server = idle_server(ping_interval=0.2)
    async with server:
        peer = await asyncio.to_thread(peer_of, server)
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            # No pong ever, but a word now and then.
            peer.send(text("here"))
            await asyncio.sleep(0.05)
        assert len(server.connections()) == 1
        peer.close()


async def test_a_peer_whose_socket_is_full_is_ended_by_write_timeout() -> None:
    server = idle_server(ping_interval=0.5, ping_timeout=0.3, write_timeout=0.3, overflow="drop_oldest")
    async with server:
        peer = await asyncio.to_thread(peer_of, server, receive_buffer=4096)
        await until(server.connections)
        [connection] = server.connections()
        connection.send_nowait(b"w" * 1_000_000)
        began = time.monotonic()
        await until(lambda: connection.closed)
        assert connection.closed is not None
        assert connection.closed.ending == "write_timeout"
        assert time.monotonic() - began < 1
        peer.close()


async def test_idle_connections_are_closed_with_1001_and_pings_do_not_keep_them() -> None:
    server = idle_server(ping_interval=0.1, idle_timeout=0.4)
    async with server, client(server) as quiet, client(server) as talking, client(server) as listening:
        await until(lambda: len(server.connections()) == 3)
        listener = max(server.connections(), key=lambda one: one.id)
        listener.subscribe("news")
        ended = asyncio.create_task(ending(quiet))
        others = [asyncio.create_task(ending(one)) for one in (talking, listening)]
        subscribed = {listener.id}
        began = time.monotonic()
        while time.monotonic() < began + 0.9:
            await talking.send("still here")
            # What is published to it counts, too.
            await server.publish("news", "tick")
            await asyncio.sleep(0.05)
        code, reason = await ended
        assert code == 1001
        assert "400ms" in reason
        assert subscribed & {one.id for one in server.connections()}
        assert sum(other.done() for other in others) <= 1
        for other in others:
            other.cancel()


async def test_heartbeat_messages_come_every_interval_on_their_route() -> None:
    server = server_with(ping_interval=0.2, heartbeat_message="beat", idle_timeout=1.5)

    async def idle(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass

    server.route("/")(idle)
    server.route("/silent", heartbeat_message=None)(idle)
    server.route("/own", heartbeat_message='{"type":"beat"}')(idle)
    async with (
        server,
        client(server) as peer,
        client(server, "/own") as own,
        client(server, "/silent") as silent,
    ):
        times = []
        for _ in range(5):
            assert await peer.recv() == "beat"
            times.append(time.monotonic())
        assert await own.recv() == '{"type":"beat"}'
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(0.1 < gap < 0.35 for gap in gaps), gaps
        # They are no application message: it is idle all the same, and nobody else got one.
        assert (await ending(silent))[0] == 1001
        assert (await ending(peer))[0] == 1001


async def test_pings_are_answered_and_so_is_a_close() -> None:
    server = idle_server()
    async with server:
        peer = await asyncio.to_thread(peer_of, server)
        peer.send(frames.frame(frames.PING, b"are you there"))
        assert await asyncio.to_thread(peer.frame) == frames.Frame(frames.PONG, b"are you there")
        peer.send(frames.close(4321, b"bye"))
        assert (await asyncio.to_thread(peer.closed))[0] == 4321
        peer.close()


async def test_a_paused_peer_is_not_judged_for_pongs_that_are_not_read() -> None:
    server = server_with(ping_interval=0.2, max_inbound=1000)
    may_read = asyncio.Event()

    @server.route("/")
    async def late(connection: sc.Connection[None]) -> None:
        await may_read.wait()
        async for _ in connection:
            pass

    async with server, client(server) as peer:
        for _ in range(10):
            await peer.send("x" * 500)
        await until(server.connections)
        [connection] = server.connections()
        await asyncio.sleep(1.0)
        assert connection.state is sc.State.OPEN, "five intervals without a pong that was read"
        may_read.set()
        await until(lambda: connection.latency is not None)
        await asyncio.sleep(0.5)
        assert connection.state is sc.State.OPEN
