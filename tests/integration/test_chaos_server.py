"""Our own server, and a client that somebody else wrote, on links that fail: what each of them then says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

import streamconductor as sc
from streamconductor.testing import Chaos, ChaosProxy, Serve, Step, random_steps
from streamconductor.testing.dice import Dice
from tests.support.live import SETTINGS, ending, until

pytest_plugins = ["streamconductor.testing.fixtures"]
pytestmark = pytest.mark.every_loop

FIN_BIT, RESERVED_BIT, HIGH_BIT = 0x80, 0x40, 0x80


class Echoing:
    """A server that echoes, and notes every ending."""

    def __init__(self, **settings: Any) -> None:
        # A port that is taken for sure: what runs it for a test must not listen there.
        self.server = sc.Server(sc.Config(**(SETTINGS | {"port": 1, "ping_interval": 0.5} | settings)))
        self.endings: list[sc.Closed] = []

        @self.server.route("/echo")
        async def echo(connection: sc.Connection[None]) -> None:
            async for message in connection:
                await connection.send(message)

        @self.server.on_close
        def ended(connection: sc.Connection[Any]) -> None:
            assert connection.closed is not None
            self.endings.append(connection.closed)

    async def ended(self) -> sc.Closed:
        """The only ending."""
        await until(lambda: self.endings)
        [closed] = self.endings
        return closed


def client(proxy: ChaosProxy) -> connect:
    return connect(proxy.url("/echo"), compression=None, proxy=None, ping_interval=None, max_size=None)


async def echoed(peer: ClientConnection, message: str) -> bool:
    await peer.send(message)
    async with asyncio.timeout(10):
        return bool(await peer.recv() == message)


async def test_a_server_runs_on_a_free_port_and_gets_its_configuration_back(
    streamconductor_server: Serve,
) -> None:
    echoing = Echoing()
    before = echoing.server.config
    for _ in range(2):
        async with streamconductor_server(echoing.server) as site:
            assert site.server is echoing.server
            assert site.port == echoing.server.port > 1
            async with connect(site.url("/echo"), proxy=None) as peer:
                assert await echoed(peer, "hello")
        assert echoing.server.config is before


async def test_a_dead_peer_behind_a_black_hole_is_found_in_time(
    streamconductor_server: Serve, streamconductor_chaos: Chaos
) -> None:
    echoing = Echoing(ping_interval=1)
    async with (
        streamconductor_server(echoing.server) as site,
        streamconductor_chaos(site) as proxy,
        client(proxy) as peer,
    ):
        assert await echoed(peer, "hello")
        proxy.disturb(black_hole=True)
        began = time.monotonic()
        closed = await echoing.ended()
        took = time.monotonic() - began
        assert (closed.code, closed.ending, closed.by) == (1006, "heartbeat_lost", "server")
        # What the promise leaves to the client's first retry is here for a crowded machine.
        assert 0.9 < took < 3
        # The reset of the server is swallowed, too: this end has to find out by itself.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.recv(), 0.2)
        peer.transport.abort()
    assert len(echoing.endings) == 1


async def test_a_reset_is_1006_once_on_either_side(
    streamconductor_server: Serve, streamconductor_chaos: Chaos
) -> None:
    echoing = Echoing()
    async with (
        streamconductor_server(echoing.server) as site,
        streamconductor_chaos(site) as proxy,
        client(proxy) as peer,
    ):
        assert await echoed(peer, "hello")
        proxy.reset()
        assert await ending(peer) == (1006, "")
        closed = await echoing.ended()
        assert (closed.code, closed.by) == (1006, "peer")
        await until(lambda: echoing.server.pool.occupied == 0)
    assert len(echoing.endings) == 1


async def test_a_half_close_without_a_close_frame_is_1006(
    streamconductor_server: Serve, streamconductor_chaos: Chaos
) -> None:
    echoing = Echoing()
    async with (
        streamconductor_server(echoing.server) as site,
        streamconductor_chaos(site) as proxy,
        client(proxy) as peer,
    ):
        assert await echoed(peer, "hello")
        proxy.half_close("upstream")
        assert (await echoing.ended()).code == 1006
        assert (await ending(peer))[0] == 1006


async def test_slices_of_one_byte_change_nothing(
    streamconductor_server: Serve, streamconductor_chaos: Chaos
) -> None:
    async with streamconductor_server(Echoing().server) as site, streamconductor_chaos(site) as proxy:
        # The handshake, too.
        proxy.disturb(slicing=1, jitter=0.005)
        async with client(proxy) as peer:
            for message in ("", "a", "grüße 🎼 " * 20, "x" * 2_000):
                assert await echoed(peer, message)
        proxy.disturb(slicing=1_000)
        async with client(proxy) as peer:
            assert await echoed(peer, "🎼" * 70_000)


@pytest.mark.parametrize(
    ("place", "bit", "code", "words"),
    [
        (0, RESERVED_BIT, 1002, ""),
        (1, HIGH_BIT, 1002, "mask"),
        # Behind the header and its mask: ASCII that is none any more.
        (6, HIGH_BIT, 1007, ""),
    ],
)
async def test_a_flipped_bit_gets_the_codecs_answer(
    streamconductor_server: Serve, streamconductor_chaos: Chaos, place: int, bit: int, code: int, words: str
) -> None:
    echoing = Echoing()
    async with streamconductor_server(echoing.server) as site, streamconductor_chaos(site) as probe:
        async with client(probe):
            head = probe.counters.upstream
        echoing.endings.clear()
        seed = next(seed for seed in itertools.count() if Dice(seed, 1, "upstream").bit(head + place) == bit)
        async with streamconductor_chaos(site, seed=seed) as proxy, client(proxy) as peer:
            assert proxy.counters.upstream == head
            proxy.disturb(corrupt_at=(head + place,), direction="upstream")
            await peer.send("plain text")
            got, reason = await ending(peer)
            assert got == code, reason
            assert words in reason
            assert (await echoing.ended()).code == code
            assert proxy.counters.corrupted == 1


async def test_corrupted_bytes_cost_their_sender_and_nobody_else(
    streamconductor_server: Serve, streamconductor_chaos: Chaos
) -> None:
    echoing = Echoing()
    codes: Counter[int] = Counter()
    async with (
        streamconductor_server(echoing.server) as site,
        connect(site.url("/echo"), proxy=None) as bystander,
        streamconductor_chaos(site) as proxy,
    ):
        for count in range(20):
            async with client(proxy) as peer:
                proxy.disturb(corruption=0.05, direction="upstream", scope="live")
                try:
                    async with asyncio.timeout(0.5):
                        while True:
                            await peer.send("some text of a length")
                            await peer.recv()
                except ConnectionClosed:
                    pass
                except TimeoutError:
                    # A length that promises more than ever comes.
                    peer.transport.abort()
            await until(lambda count=count: len(echoing.endings) == count + 1)  # type: ignore[misc]
            codes[echoing.endings[-1].code] += 1
        assert await echoed(bystander, "untouched")
    assert set(codes) <= {1002, 1007, 1009, 1006, 1000, 1005, 1008}
    assert codes[1002] + codes[1007] > 10, codes


async def test_an_outage_that_heals_loses_nothing(
    streamconductor_server: Serve, streamconductor_chaos: Chaos
) -> None:
    echoing = Echoing(ping_interval=20, overflow="drop_oldest")
    async with (
        streamconductor_server(echoing.server) as site,
        streamconductor_chaos(site) as proxy,
        client(proxy) as peer,
    ):
        assert await echoed(peer, "hello")
        [connection] = echoing.server.connections()
        proxy.disturb(bandwidth=0, direction="downstream")
        for count in range(100):
            connection.send_nowait(f"{count} {'x' * 20_000}")
        # More than the kernel and the proxy take: what is left waits where the server's limits see it.
        await until(lambda: connection.buffered_amount > 500_000)
        proxy.restore()
        async with asyncio.timeout(10):
            got = [str(await peer.recv()).split()[0] for _ in range(100)]
        assert got == [str(count) for count in range(100)]
        await until(lambda: connection.buffered_amount == 0)


async def test_a_script_takes_the_link_away_and_gives_it_back(
    streamconductor_server: Serve, streamconductor_chaos: Chaos
) -> None:
    echoing = Echoing()
    async with streamconductor_server(echoing.server) as site, streamconductor_chaos(site) as proxy:
        async with client(proxy) as peer:
            before = proxy.counters.downstream
            over = proxy.script(
                [
                    Step(after_bytes=10_000, counted="downstream", action="refuse"),
                    Step(action="reset"),
                    Step(after=0.2, action="restore"),
                ]
            )
            with contextlib.suppress(ConnectionClosed):
                while not over.done():
                    await echoed(peer, "x" * 990)
        assert proxy.counters.downstream == before + 10_000
        with pytest.raises(ConnectionRefusedError):
            async with client(proxy):
                pass
        await asyncio.wait_for(over, 5)
        async with client(proxy) as peer:
            assert await echoed(peer, "back")


@pytest.mark.parametrize("seed", range(4))
async def test_after_whatever_a_seed_does_every_connection_has_ended_once(
    streamconductor_server: Serve, streamconductor_chaos: Chaos, seed: int
) -> None:
    echoing = Echoing(ping_interval=0.2)
    opened = 0
    async with streamconductor_server(echoing.server) as site:
        async with streamconductor_chaos(site, seed=seed) as proxy:
            over = proxy.script(random_steps(seed, seconds=1, count=15))
            while not over.done():
                try:
                    async with asyncio.timeout(0.2), client(proxy) as peer:
                        opened += 1
                        while True:
                            await echoed(peer, "x" * 500)
                except (OSError, TimeoutError, WebSocketException):
                    await asyncio.sleep(0.01)
        await until(lambda: echoing.server.pool.occupied == 0)
    assert len(echoing.endings) == len({id(one) for one in echoing.endings}) >= opened
