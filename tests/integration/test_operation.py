"""What an operator sees and changes: status, readiness, health checks, other limits, notices of backpressure."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

import streamconductor as sc
from tests.support.live import client, ending, get, peer_of, ready, server_with, until, until_async


def idle_server(**settings: Any) -> sc.Server:
    server = server_with(**settings)

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        connection.subscribe("news")
        await connection.send("ready")
        async for _ in connection:
            pass

    return server


@contextlib.asynccontextmanager
async def admitted(server: sc.Server, path: str = "/") -> Any:
    async with client(server, path) as peer:
        assert await peer.recv() == "ready"
        yield peer


# Status and metrics.


async def test_status_adds_up() -> None:
    server = idle_server(threads=3)
    async with server:
        async with admitted(server), admitted(server) as peer:
            await server.publish("news", "x" * 100)
            assert await peer.recv() == "x" * 100
            status = server.status()
            assert status["pool"]["connections"]["used"] == 2
            assert status["pool"]["connections"]["maximum"] == 100
            assert status["level"]["name"] == "normal"
            assert status["readiness"]["ready"] is True
            assert status["states"]["flowing"] == 2
            assert status["handshakes"]["accepted"] == 2
            assert status["channels"]["largest"] == [{"name": "news", "subscribers": 2}]
            assert status["addresses"] == [f"127.0.0.1:{server.port}"]
        await until(lambda: server.status()["endings"]["peer_closed"] == 2)
        traffic = server.status()["traffic"]
        dropped = sum(flow["messages"] for flow in traffic["dropped"].values())
        left = traffic["written"]["messages"] + dropped
        left += traffic["discarded"]["messages"] + traffic["pending"]["messages"]
        assert traffic["accepted"]["messages"] == left == 4
        assert server.status()["close_codes"] == {"1000": 2}


async def test_metrics_are_open_metrics_and_agree_with_the_admin_address() -> None:
    server = idle_server(admin_port=0)
    async with server, admitted(server):
        text = server.metrics()
        assert text.endswith("# EOF\n")
        assert any(line.startswith("streamconductor_") for line in text.splitlines())
        assert server.admin_port not in (None, 0, server.port)
        assert server.admin_port is not None
        status, body = await get(server.admin_port, "/metrics")
        assert status == 200
        names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        assert names == {line.split()[2] for line in body.decode().splitlines() if line.startswith("# TYPE")}
        status, body = await get(server.admin_port, "/status")
        assert status == 200
        assert json.loads(body).keys() == server.status().keys()


async def test_pool_is_how_full_it_is() -> None:
    server = idle_server(max_connections=4)
    async with server, admitted(server):
        pool = server.pool
        assert (pool.occupied, pool.max_connections, pool.utilisation) == (1, 4, 0.25)
        assert pool.max_pending == 1024
        assert pool.memory_budget == 512 * 2**20
        assert pool.memory_used < 2**20


# Readiness.


async def test_health_checks_turn_readyz_red() -> None:
    server = idle_server(health_interval=0.02)
    verdict: sc.Health | BaseException = sc.Health.ok(lag_ms=3)

    def answer() -> sc.Health:
        if isinstance(verdict, BaseException):
            raise verdict
        return verdict

    @server.on_health("database", required=True)
    async def database() -> sc.Health:
        return answer()

    @server.on_health("cache")
    def cache() -> sc.Health:
        return sc.Health.failed("cold")

    async def reads(status: int, state: str) -> bool:
        found, report = await ready(server)
        return (found, report["checks"]["database"]["state"]) == (status, state)

    async with server:
        await until_async(lambda: reads(200, "ok"))
        _, report = await ready(server)
        assert report["checks"]["database"]["facts"] == {"lag_ms": 3}
        assert report["checks"]["cache"]["state"] == "failed", "it only informs"
        verdict = sc.Health.failed("connection refused")
        await until_async(lambda: reads(503, "failed"))
        _, report = await ready(server)
        assert report["reasons"] == ["check database: failed: connection refused"]
        verdict = sc.Health.degraded("slow")
        await until_async(lambda: reads(200, "degraded"))
        verdict = LookupError("no such table")
        await until_async(lambda: reads(503, "failed"))
        assert (await get(server.port, "/livez"))[0] == 200
        verdict = sc.Health.ok()
        await until_async(lambda: reads(200, "ok"))


async def test_a_check_that_hangs_fails_and_one_that_has_not_run_is_not_ready() -> None:
    server = idle_server(health_interval=0.05, health_timeout=0.1)
    may_answer = asyncio.Event()

    @server.on_health("slow", required=True)
    async def slow() -> sc.Health:
        await may_answer.wait()
        return sc.Health.ok()

    async with server:
        status, report = await ready(server)
        assert (status, report["checks"]["slow"]["detail"]) == (503, "has not run yet")

        async def timed_out() -> bool:
            return "within its timeout" in (await ready(server))[1]["checks"]["slow"]["detail"]

        await until_async(timed_out)
        may_answer.set()

        async def is_ready() -> bool:
            return (await ready(server))[0] == 200

        await until_async(is_ready)


async def test_readyz_says_for_how_long_python_has_been_stalled_and_which_verdicts_are_stale() -> None:
    server = idle_server(stall_limit=0.5, health_interval=0.05, health_timeout=0.05)

    @server.on_health("loop", required=True)
    async def loop() -> sc.Health:
        return sc.Health.ok()

    def blocked(port: int) -> list[tuple[int, dict[str, Any]]]:
        """What is read from another loop while this one is blocked."""

        async def read() -> list[tuple[int, dict[str, Any]]]:
            found = []
            deadline = time.monotonic() + 1.2
            while time.monotonic() < deadline:
                status, body = await get(port, "/readyz")
                found.append((status, json.loads(body)))
                await asyncio.sleep(0.05)
            return found

        return asyncio.run(read())

    async with server:

        async def is_ready() -> bool:
            return (await ready(server))[0] == 200

        await until_async(is_ready)
        reading = asyncio.create_task(asyncio.to_thread(blocked, server.port))
        await asyncio.sleep(0.1)
        time.sleep(1.3)  # noqa: ASYNC251 the loop is to be blocked
        found = await reading
        assert found[0][0] == 200
        status, last = found[-1]
        assert status == 503
        assert last["python_stalled_seconds"] > 0.6
        assert any(reason.startswith("python stalled 1s") for reason in last["reasons"])
        assert last["checks"]["loop"]["state"] == "stale"
        await until_async(is_ready)
        assert (await ready(server))[1]["python_stalled_seconds"] < 0.5


# Other limits.


async def test_reconfigure_changes_limits_at_once() -> None:
    server = idle_server(max_connections=1)
    async with server, admitted(server):
        with pytest.raises(InvalidStatus):
            await client(server)
        server.reconfigure(max_connections=2, max_channels=1, idle_timeout=None)
        assert server.config.max_connections == 2
        async with admitted(server):
            assert server.pool.max_connections == 2
            for connection in server.connections():
                with pytest.raises(ValueError, match="max_channels"):
                    connection.subscribe("second")


async def test_what_cannot_be_changed_is_refused_and_nothing_is() -> None:
    server = idle_server()
    async with server:
        with pytest.raises(ValueError, match="port, threads cannot be changed"):
            server.reconfigure(port=1, threads=7, max_connections=3)
        with pytest.raises(sc.ConfigError, match="low_water"):
            server.reconfigure(low_water="1MiB", max_connections=3)
        with pytest.raises(sc.ConfigError, match="max_conections"):
            server.reconfigure(max_conections=3)  # type: ignore[call-arg]
        assert server.pool.max_connections == 100


async def test_a_shorter_idle_timeout_holds_for_those_who_are_there() -> None:
    server = idle_server()
    async with server, admitted(server) as peer:
        server.reconfigure(idle_timeout=0.2)
        assert (await ending(peer))[0] == 1001
        await until(lambda: server.status()["endings"]["idle"] == 1)


@pytest.mark.parametrize("eviction", ["reject", "idle"])
async def test_lowering_max_connections_ends_some_at_a_time(eviction: str) -> None:
    server = idle_server(threads=2, eviction=eviction, max_connections=100)
    async with server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(admitted(server)) for _ in range(100)]
        began = time.monotonic()
        server.reconfigure(max_connections=40)
        seen = set()

        def is_done() -> bool:
            seen.add(server.pool.occupied)
            return server.pool.occupied <= 40

        await until(is_done)
        took = time.monotonic() - began
        # Five per shard and tick of 50 ms: 60 in six ticks and no less than five pauses.
        assert took > 0.2
        assert len(seen) >= 4, f"all at once: {seen}"
        assert server.pool.occupied == 40
        codes = [await ending(peer) for peer in peers if peer.close_code is not None or peer.state != 1]
        assert all(code == 1013 for code, _ in codes)
        assert server.status()["endings"]["evicted"] == 60


# Notices of backpressure.


async def test_backpressure_is_told_at_most_once_a_second_per_connection() -> None:
    server = server_with(
        high_water="16KiB", low_water="4KiB", max_buffered="64KiB", overflow="drop_oldest", threads=1
    )
    events: list[tuple[float, sc.Backpressure]] = []

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        connection.subscribe("news")
        await connection.send("ready")
        async for _ in connection:
            pass

    @server.on_backpressure
    def told(connection: sc.Connection[Any], event: sc.Backpressure) -> None:
        assert connection in server.connections()
        events.append((time.monotonic(), event))

    async with server:
        peer = await asyncio.to_thread(peer_of, server, receive_buffer=4096)
        other = await asyncio.to_thread(peer_of, server)
        await until(lambda: server.publish_nowait("news", "") == 2)
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            await server.publish("news", b"n" * 4000)
            other.socket.recv(1 << 20)
            await asyncio.sleep(0.002)
        slow = max(server.connections(), key=lambda one: one.dropped)
        assert slow.dropped > 0
        discarded = asyncio.create_task(asyncio.to_thread(peer.discard))
        await until(lambda: events and not events[-1][1].above)
        times = [at for at, _ in events]
        # In 1.5 seconds of pressure and the relief behind it.
        assert 2 <= len(events) <= 4
        assert all(later - earlier > 0.9 for earlier, later in itertools.pairwise(times))
        assert events[0][1].above
        assert sum(event.dropped for _, event in events) == slow.dropped
        slow.close()
        await discarded
        peer.close()
        other.close()


async def test_what_on_backpressure_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = server_with(high_water="16KiB", low_water="4KiB", max_buffered="64KiB")
    told = asyncio.Event()

    @server.route("/")
    async def idle(connection: sc.Connection[None]) -> None:
        async for _ in connection:
            pass

    @server.on_backpressure
    def broken(connection: sc.Connection[Any], event: sc.Backpressure) -> None:
        told.set()
        raise LookupError("broken")

    async with server:
        peer = await asyncio.to_thread(peer_of, server, receive_buffer=4096)
        await until(server.connections)
        [connection] = server.connections()
        while not told.is_set():
            with contextlib.suppress(sc.Full):
                connection.send_nowait(b"n" * 4000)
            await asyncio.sleep(0.001)
        assert connection.state is sc.State.OPEN
        peer.close()
    assert "on_backpressure raised" in caplog.text
