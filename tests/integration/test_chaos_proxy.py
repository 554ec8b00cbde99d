"""What `ChaosProxy` does to connections of a server that knows no protocol: each fault, each ending, no more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time

import psutil
import pytest

import streamconductor as sc
from streamconductor.testing import ChaosProxy, Faults
from streamconductor.testing.dice import Dice
from tests.support.live import until
from tests.support.proxied import PATIENCE, SEED, connected, reset_at_end, through
from tests.support.recording_server import recording

pytestmark = pytest.mark.every_loop


async def test_without_faults_everything_passes_and_is_counted() -> None:
    async with through(echoes=True) as (server, proxy, client):
        sent = os.urandom(300_000)
        client.writer.write(sent)
        assert await client.hears(len(sent)) == sent
        client.writer.write_eof()
        assert await client.ending() == "FIN"
        assert server.connections[0].ending == "FIN"
        await until(lambda: proxy.counters.open == 0)
        assert (proxy.counters.upstream, proxy.counters.downstream) == (len(sent), len(sent))
        assert proxy.counters.connections == 1
        assert proxy.counters.swallowed == proxy.counters.corrupted == proxy.counters.resets == 0
        assert len(proxy.log) == 0


async def test_an_end_of_either_side_passes() -> None:
    async with recording() as server, ChaosProxy("127.0.0.1", server.port) as proxy:
        async with connected(proxy) as client:
            await until(lambda: server.connections)
            server.connections[0].writer.close()
            assert await client.ending() == "FIN"
        async with connected(proxy) as client:
            await until(lambda: len(server.connections) == 2)
            reset_at_end(client.writer)
            client.writer.transport.abort()
            await until(lambda: server.connections[1].ending == "RST")
        await until(lambda: proxy.counters.open == 0)


# Late and slow.


@pytest.mark.parametrize("direction", ["upstream", "downstream", None])
async def test_latency_delays_every_byte_of_its_direction(direction: sc.testing.Direction | None) -> None:
    async with through(echoes=True) as (_, proxy, client):
        proxy.disturb(latency=0.15, direction=direction)
        least = 0.3 if direction is None else 0.15
        for _ in range(2):
            began = time.monotonic()
            client.writer.write(b"ping")
            assert await client.hears(4) == b"ping"
            assert least <= time.monotonic() - began


async def test_latency_is_no_bandwidth() -> None:
    async with through(faults=Faults(latency=0.3)) as (server, _, client):
        began = time.monotonic()
        for _ in range(20):
            client.writer.write(b"x" * 1_000)
            await asyncio.sleep(0.01)
        await until(lambda: len(server.connections[0].data) == 20_000)
        # One after the other they would take six seconds.
        assert 0.3 <= time.monotonic() - began < 3


async def test_a_change_is_felt_by_bytes_on_their_way() -> None:
    async with through(faults=Faults(latency=60)) as (server, proxy, client):
        client.writer.write(b"late")
        await asyncio.sleep(0.1)
        assert not server.connections[0].data
        proxy.restore()
        await until(lambda: server.connections[0].data == b"late")


async def test_jitter_is_drawn_by_place_and_keeps_the_order() -> None:
    async with through(faults=Faults(jitter=0.4)) as (server, _, client):
        luck = [Dice(SEED, 1, "upstream").roll("jitter", place) for place in range(4)]
        sent = os.urandom(4 * 1_460)
        began = time.monotonic()
        client.writer.write(sent)
        await until(lambda: len(server.connections[0].data) >= 1_460)
        assert 0.4 * luck[0] <= time.monotonic() - began
        await until(lambda: server.connections[0].data == sent)
        assert 0.4 * max(luck) <= time.monotonic() - began
        assert len(set(luck)) == 4


async def test_bandwidth_bounds_bytes_a_second() -> None:
    async with through() as (server, proxy, client):
        proxy.disturb(bandwidth=40_000, direction="upstream")
        began = time.monotonic()
        client.writer.write(b"x" * 20_000)
        await until(lambda: len(server.connections[0].data) == 20_000)
        # Half a second, but for what a flow may catch up.
        assert time.monotonic() - began >= 0.4


async def test_a_bandwidth_of_0_is_an_outage_that_heals() -> None:
    async with through(echoes=True) as (server, proxy, client):
        proxy.disturb(bandwidth=0)
        client.writer.write(b"patience")
        assert await client.hears_nothing()
        assert not server.connections[0].data
        proxy.disturb(bandwidth=None)
        assert await client.hears(8) == b"patience"
        assert proxy.counters.swallowed == 0


async def test_who_does_not_read_holds_up_who_sends() -> None:
    async with through(may_read=False) as (server, proxy, client):
        transport = client.writer.transport
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        transport.set_write_buffer_limits(high=0)
        memory = psutil.Process().memory_info().rss
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 * 2**20:
                client.writer.write(b"x" * 65_536)
                async with asyncio.timeout(0.5):
                    await client.writer.drain()
                sent += 65_536
        # What fits into the proxy, and into the kernel's buffers around it and of a server that does not read.
        assert sent < 2 * 2**20
        assert psutil.Process().memory_info().rss - memory < 8 * 2**20
        assert proxy.counters.upstream < sent
        server.connections[0].reads.set()
        async with asyncio.timeout(PATIENCE):
            await client.writer.drain()
        await until(lambda: len(server.connections[0].data) == sent + 65_536)


# Lost.


async def test_a_black_hole_swallows_and_nobody_hears_of_it() -> None:
    async with through(echoes=True) as (server, proxy, client):
        client.writer.write(b"before")
        assert await client.hears(6) == b"before"
        proxy.disturb(black_hole=True, scope="live")
        client.writer.write(b"lost")
        server.connections[0].writer.write(b"lost, too")
        await until(lambda: proxy.counters.swallowed == 13)
        # Those to come were left alone.
        async with connected(proxy) as other:
            other.writer.write(b"other")
            assert await other.hears(5) == b"other"
        proxy.restore()
        client.writer.write(b"after")
        client.writer.write_eof()
        assert await client.hears_nothing()
        assert server.connections[0].data == b"before"
        assert server.connections[0].ending is None


@pytest.mark.parametrize("ending", ["FIN", "RST"])
async def test_a_black_hole_swallows_the_end_of_the_client(ending: str) -> None:
    async with through() as (server, proxy, client):
        proxy.disturb(black_hole=True)
        if ending == "RST":
            reset_at_end(client.writer)
        client.writer.transport.abort()
        await asyncio.sleep(0.2)
        assert server.connections[0].ending is None
        # The server may write into it as long as it likes.
        for _ in range(3):
            server.connections[0].writer.write(b"still there?")
            await asyncio.sleep(0.02)
        assert server.connections[0].ending is None
        # When both have ended, nothing is kept.
        server.connections[0].writer.close()
        await until(lambda: proxy.counters.open == 0)


async def test_a_black_hole_may_have_one_direction() -> None:
    async with through() as (server, proxy, client):
        proxy.disturb(black_hole=True, direction="downstream")
        client.writer.write(b"heard")
        await until(lambda: server.connections[0].data == b"heard")
        server.connections[0].writer.write(b"not heard")
        server.connections[0].writer.close()
        assert await client.hears_nothing()


async def test_a_black_hole_cuts_a_write_that_waits() -> None:
    async with through(may_read=False, faults=Faults(slicing=1_000)) as (server, proxy, client):
        client.writer.write(b"x" * 2_000_000)
        await _stalled(proxy)
        passed = proxy.counters.upstream
        proxy.disturb(black_hole=True)
        server.connections[0].reads.set()
        await until(lambda: len(server.connections[0].data) >= passed)
        await until(lambda: proxy.counters.upstream + proxy.counters.swallowed >= 2_000_000)
        assert await client.hears_nothing()
        assert proxy.counters.upstream == passed
        # Of a piece that was begun a part may be there.
        assert passed <= len(server.connections[0].data) < passed + 1_000


async def test_in_a_black_hole_new_connections_are_accepted_and_silent() -> None:
    async with recording() as server, ChaosProxy("127.0.0.1", server.port) as proxy:
        proxy.disturb(black_hole=True, scope="new")
        async with connected(proxy) as client:
            client.writer.write(b"hello?")
            assert await client.hears_nothing()
            await until(lambda: proxy.counters.swallowed == 6)
            proxy.restore()
            assert await client.hears_nothing()
            assert not server.connections
            reset_at_end(client.writer)
            client.writer.transport.abort()
            await until(lambda: proxy.counters.open == 0)


async def test_new_connections_are_refused_and_the_others_live_on() -> None:
    async with through(echoes=True) as (_, proxy, client):
        port = proxy.port
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        client.writer.write(b"still here")
        assert await client.hears(10) == b"still here"
        proxy.restore()
        assert proxy.port == port
        async with connected(proxy) as other:
            other.writer.write(b"back")
            assert await other.hears(4) == b"back"


async def test_a_reset_reaches_both_sides() -> None:
    async with through() as (server, proxy, client):
        proxy.reset()
        assert await client.ending() == "RST"
        await until(lambda: server.connections[0].ending == "RST")
        assert proxy.counters.resets == 1
        await until(lambda: proxy.counters.open == 0)


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
async def test_a_half_close_ends_one_direction_for_its_receiver(direction: sc.testing.Direction) -> None:
    async with through() as (server, proxy, client):
        heard = server.connections[0]
        proxy.half_close(direction)
        if direction == "upstream":
            await until(lambda: heard.ending == "FIN")
            client.writer.write(b"swallowed")
            await until(lambda: proxy.counters.swallowed == 9)
        else:
            assert await client.ending() == "FIN"
            client.writer.write(b"still heard")
            await until(lambda: heard.data == b"still heard")
            assert heard.ending is None


async def test_a_target_that_is_not_there_is_told_by_a_reset() -> None:
    async with recording() as server:
        port = server.port
    async with ChaosProxy("127.0.0.1", port) as proxy, connected(proxy) as client:
        assert await client.ending() == "RST"
        assert proxy.counters.unreachable == 1
        assert "unreachable" in str(proxy.log)


# Corrupted.


async def test_corruption_is_the_same_for_the_same_seed_however_bytes_are_sent() -> None:
    sent = bytes(40_000)
    outcomes = []
    for seed, size in ((SEED, 40_000), (SEED, 777), (SEED + 1, 40_000)):
        faults = Faults(corruption=0.01)
        async with (
            recording() as server,
            ChaosProxy("127.0.0.1", server.port, seed=seed, faults=faults) as proxy,
            connected(proxy) as client,
        ):
            for begin in range(0, len(sent), size):
                client.writer.write(sent[begin : begin + size])
                await asyncio.sleep(0)
            await until(
                lambda server=server: server.connections and len(server.connections[0].data) == len(sent)
            )  # type: ignore[misc]
            outcomes.append(bytes(server.connections[0].data))
            flipped = {place: byte for place, byte in enumerate(outcomes[-1]) if byte}
            assert all(byte.bit_count() == 1 for byte in flipped.values())
            assert 200 < len(flipped) < 800, "about four hundred"
            assert proxy.counters.corrupted == len(flipped)
            assert [entry.offset for entry in proxy.log] == sorted(flipped)
    assert outcomes[0] == outcomes[1] != outcomes[2]


async def test_a_byte_can_be_chosen() -> None:
    async with through(faults=Faults(corrupt_at=(3, 5))) as (server, proxy, client):
        client.writer.write(bytes(4))
        await until(lambda: len(server.connections[0].data) == 4)
        client.writer.write(bytes(4))
        await until(lambda: len(server.connections[0].data) == 8)
        assert [place for place, byte in enumerate(server.connections[0].data) if byte] == [3, 5]
        assert proxy.counters.corrupted == 2


async def _stalled(proxy: ChaosProxy) -> None:
    """Until nothing passes any more."""
    passed = -1
    while passed != proxy.counters.upstream:
        passed = proxy.counters.upstream
        await asyncio.sleep(0.1)
