"""Orders to a `ChaosProxy`, by hand, by script and by seed, and what it tells of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from pathlib import Path

import psutil
import pytest

from streamconductor.testing import ChaosProxy, Faults, Step, random_steps
from tests.support.live import until
from tests.support.proxied import PATIENCE, Client, connected, through
from tests.support.recording_server import recording

pytestmark = pytest.mark.every_loop


# Scripts.


async def test_a_step_comes_after_exactly_so_many_bytes() -> None:
    async with through(faults=Faults(slicing=100)) as (server, proxy, client):
        over = proxy.script(
            [
                Step(after_bytes=1_000, counted="upstream", change={"bandwidth": 0}),
                Step(after=0.2, change={"bandwidth": None}),
                Step(after_bytes=500, action="half_close", direction="upstream"),
            ]
        )
        client.writer.write(b"x" * 5_000)
        await until(lambda: len(server.connections[0].data) == 1_000)
        await asyncio.sleep(0.05)
        assert len(server.connections[0].data) == 1_000
        await asyncio.wait_for(over, PATIENCE)
        await until(lambda: server.connections[0].ending == "FIN")
        assert len(server.connections[0].data) == 1_500


async def test_what_was_done_can_be_done_again() -> None:
    outcomes = []
    steps = [
        Step(after_bytes=2_000, change={"corruption": 0.05}),
        Step(after_bytes=3_000, change={"corruption": 0.0, "slicing": 3}),
        Step(after_bytes=100, action="half_close", direction="upstream"),
    ]
    for _ in range(2):
        async with through() as (server, proxy, client):
            over = proxy.script(steps)
            client.writer.write(bytes(20_000))
            await asyncio.wait_for(over, PATIENCE)
            await until(lambda server=server: server.connections[0].ending == "FIN")  # type: ignore[misc]
            outcomes.append(bytes(server.connections[0].data))
            assert len(proxy.steps) == 3
            steps = proxy.steps
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 5_100
    assert any(outcomes[0])


async def test_orders_by_hand_become_a_script() -> None:
    async with through() as (_, proxy, _client):
        proxy.disturb(latency=0.5, direction="upstream", scope="new")
        await asyncio.sleep(0.1)
        proxy.reset()
        proxy.restore()
        [first, second, third] = proxy.steps
        assert (first.action, first.direction, first.scope) == ("disturb", "upstream", "new")
        assert first.change == {"latency": 0.5}
        assert (second.action, third.action) == ("reset", "restore")
        assert second.after >= 0.1 > third.after
        assert [entry.what for entry in proxy.log] == [
            "latency=0.5 for new connections",
            "1 connections reset",
            "restored",
        ]


async def test_one_script_at_a_time() -> None:
    async with recording() as server, ChaosProxy("127.0.0.1", server.port) as proxy:
        over = proxy.script([Step(after=60, action="reset")])
        with pytest.raises(RuntimeError, match="plays already"):
            proxy.script([])
    assert over.cancelled()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_a_seed_does_nothing_is_left(seed: int) -> None:
    process = psutil.Process()
    async with recording(echoes=True) as server:
        gc.collect()  # what other tests have left to it
        tasks, descriptors = asyncio.all_tasks(), process.num_fds()
        async with ChaosProxy("127.0.0.1", server.port, seed=seed) as proxy:
            over = proxy.script(random_steps(seed, seconds=0.5, count=12, corruption=True))
            while not over.done():
                with contextlib.suppress(OSError, EOFError, TimeoutError):
                    async with connected(proxy) as client:
                        client.writer.write(b"x" * 20_000)
                        async with asyncio.timeout(0.1):
                            await client.reader.readexactly(20_000)
            # Orders are at an end, and what was accepted after the last goes through.
            async with connected(proxy) as client:
                client.writer.write(b"still there")
                assert await client.hears(11) == b"still there"
        for heard in server.connections:
            heard.writer.transport.abort()
        await until(lambda: process.num_fds() <= descriptors and asyncio.all_tasks() == tasks)
        assert proxy.counters.open == 0


# The proxy itself.


async def test_unix_sockets_on_either_side(tmp_path: Path) -> None:
    inner, outer = str(tmp_path / "inner"), str(tmp_path / "outer")
    async with (
        recording(echoes=True, path=inner),
        ChaosProxy(target_unix_socket=inner, unix_socket=outer) as proxy,
    ):
        assert (proxy.port, proxy.url("/ws")) == (0, "ws://localhost/ws")
        client = Client(*await asyncio.open_unix_connection(outer))
        client.writer.write(b"hello")
        assert await client.hears(5) == b"hello"
        proxy.refuse()
        with pytest.raises(OSError, match="No such file"):
            await asyncio.open_unix_connection(outer)
        proxy.restore()
        other = Client(*await asyncio.open_unix_connection(outer))
        other.writer.write(b"again")
        assert await other.hears(5) == b"again"
        for each in (client, other):
            each.writer.transport.abort()
    assert os.listdir(tmp_path) == ["inner"]


async def test_arrivals_can_be_waited_for() -> None:
    async with recording() as server, ChaosProxy("127.0.0.1", server.port) as proxy:
        began = time.monotonic()
        waiting = asyncio.create_task(proxy.arrival())
        await asyncio.sleep(0)
        async with connected(proxy):
            first = await asyncio.wait_for(waiting, PATIENCE)
            assert began <= first <= time.monotonic()
            assert await proxy.arrival(began) == first
            later = asyncio.create_task(proxy.arrival(first))
            async with connected(proxy):
                assert await asyncio.wait_for(later, PATIENCE) > first


async def test_a_failure_inside_is_told_what_was_done() -> None:
    async with recording() as server:
        proxy = ChaosProxy("127.0.0.1", server.port, seed=42)
        await proxy.__aenter__()
        proxy.disturb(slicing=3)
        failure = AssertionError()
        await proxy.__aexit__(AssertionError, failure, None)
    [note] = failure.__notes__
    assert "seed=42" in note
    assert "slicing=3 for all connections" in note
    assert proxy.as_dict()["seed"] == 42
    assert proxy.as_dict()["log"][0]["what"] == "slicing=3 for all connections"


async def test_it_must_be_entered_once() -> None:
    proxy = ChaosProxy("127.0.0.1", 9)
    with pytest.raises(RuntimeError, match="async with"):
        _ = proxy.port
    with pytest.raises(RuntimeError, match="async with"):
        proxy.reset()
    async with proxy:
        pass
    with pytest.raises(RuntimeError, match="once"):
        async with proxy:
            pass


@pytest.mark.parametrize("turns", range(6))
async def test_a_proxy_that_is_left_at_once_leaves_no_socket(turns: int) -> None:
    process = psutil.Process()
    async with recording() as server:
        gc.collect()
        before = process.num_fds()
        async with ChaosProxy("127.0.0.1", server.port) as proxy:
            # In the kernel's backlog, accepted, or on the way to the target, as the turns of the loop will have it.
            client = socket.create_connection(("127.0.0.1", proxy.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        client.close()
        for heard in server.connections:
            heard.writer.transport.abort()
        gc.collect()
        await until(lambda: process.num_fds() <= before)
