"""The life of a server: loops it runs on, starting twice, several at once, forks, and what an import does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

import streamconductor as sc
from tests.support.live import client, ending, get, server_with, until

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def echo_server(**settings: Any) -> sc.Server:
    server = server_with(**settings)

    @server.route("/")
    async def echo(connection: sc.Connection[None]) -> None:
        async for message in connection:
            await connection.send(message)

    @server.on_message("/fast")
    def fast(connection: sc.Connection[None], message: str | bytes) -> None:
        connection.send_nowait(message)

    return server


def shard_threads() -> int:
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    # The kernel keeps fifteen letters.
    return sum(name.startswith("streamconductor") for name in names)


async def echoes(server: sc.Server, path: str = "/") -> bool:
    async with client(server, path) as peer:
        await peer.send("echo")
        return await peer.recv() == "echo"


@LOOPS
def test_both_loops(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        async with echo_server() as server:
            assert await echoes(server)
            assert await echoes(server, "/fast")
            assert server.publish_nowait("nobody", "x") == 0

    with asyncio.Runner(loop_factory=new_loop, debug=False) as runner:
        runner.run(main())


def test_under_trio_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # What matters is that its loop is not asyncio's: a coroutine driven by hand, as trio drives it.
    monkeypatch.setitem(sys.modules, "trio", types.ModuleType("trio"))
    starting = server_with().__aenter__()
    with pytest.raises(sc.UnsupportedEventLoop, match="found trio"):
        starting.send(None)


async def test_start_stop_start() -> None:
    server = echo_server()
    ports = set()
    for _ in range(3):
        async with server:
            ports.add(server.port)
            assert await echoes(server)
            with pytest.raises(RuntimeError, match="already"):
                await server.start()
        await server.wait_closed()
        with pytest.raises(sc.NotRunning):
            _ = server.port
        await server.shutdown()
    assert ports


async def test_a_failed_start_can_be_repeated() -> None:
    async with echo_server() as first:
        second = echo_server(port=first.port)
        with pytest.raises(sc.BindError):
            await second.start()
    async with second:
        assert await echoes(second)


async def test_a_bad_route_fails_the_start_and_leaves_nothing() -> None:
    server = server_with()

    @server.route("/{a/b}")
    async def never(connection: sc.Connection[None]) -> None: ...

    with pytest.raises(ValueError, match="a"):
        await server.start()
    assert shard_threads() == 0
    assert server._native is None


async def test_several_servers_in_one_process_do_not_mix() -> None:
    servers = [echo_server(threads=1) for _ in range(4)]
    heard: list[list[str | bytes]] = [[] for _ in servers]
    for server, mine in zip(servers, heard, strict=True):

        @server.on_message("/count")
        def count(
            connection: sc.Connection[None], message: str | bytes, mine: list[str | bytes] = mine
        ) -> None:
            mine.append(message)

    async with servers[0], servers[1], servers[2], servers[3]:
        assert len({server.port for server in servers}) == 4
        for number, server in enumerate(servers):
            async with client(server, "/count") as peer:
                await peer.send(str(number))
                await until(server.connections)
                assert [len(one.connections()) for one in servers].count(0) == 3
        await until(lambda: all(heard))
    assert heard == [["0"], ["1"], ["2"], ["3"]]


async def test_registration_ends_with_the_start() -> None:
    server = echo_server()
    async with server:

        async def late(connection: sc.Connection[None]) -> None: ...

        for register in (
            lambda: server.route("/late")(late),
            lambda: server.push("/late"),
            lambda: server.on_connect(print),
            lambda: server.on_close(print),
            lambda: server.on_backpressure(print),
            lambda: server.on_health("late"),
            lambda: server.asset("/late", b""),
        ):
            with pytest.raises(RuntimeError, match="before the server starts"):
                register()


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = echo_server(unix_socket=path)
    async with server:
        assert server.port == 0
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_an_asset_and_the_client_script_are_served() -> None:
    server = echo_server()
    server.asset("/page.html", b"<p>hello", "text/html")
    async with server:
        assert await get(server.port, "/page.html") == (200, b"<p>hello")
        status, script = await get(server.port, "/streamconductor.js")
        assert status == 200
        assert b"class" in script or b"function" in script
        status, types = await get(server.port, "/streamconductor.d.ts")
        assert status == 200
        assert b"export declare class StreamConductorSocket" in types
        assert (await get(server.port, "/nothing"))[0] == 404


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_after_a_fork_every_call_says_so() -> None:
    server = echo_server()
    async with server, client(server) as peer:
        await until(server.connections)
        [connection] = server.connections()
        connection.subscribe("news")
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            # Nothing of the test's may run here, and nothing may wait for a thread that is not there.
            try:
                os.write(write, " ".join(_raised_in_child(server, connection)).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            found = await asyncio.to_thread(pipe.read)
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        assert found.split() == ["ForkedProcess"] * 15
        # The parent does not feel it.
        await peer.send("still here")
        assert await peer.recv() == "still here"


def _raised_in_child(server: sc.Server, connection: sc.Connection[Any]) -> list[str]:
    def first_step(coroutine: Any) -> None:
        try:
            coroutine.send(None)
        finally:
            coroutine.close()

    calls: list[Callable[[], object]] = [
        lambda: server.publish_nowait("news", "x"),
        lambda: first_step(server.publish("news", "x")),
        lambda: first_step(server.broadcast("x")),
        lambda: first_step(server.start()),
        lambda: first_step(server.shutdown()),
        lambda: server.connections(),
        lambda: server.status(),
        lambda: server.port,
        lambda: server.pool,
        lambda: connection.send_nowait("x"),
        lambda: first_step(connection.send("x")),
        lambda: connection.subscribe("news"),
        lambda: connection.unsubscribe("news"),
        lambda: connection.close(),
        lambda: server.disconnect(user="ann"),
    ]
    found = []
    for call in calls:
        try:
            call()
            found.append("nothing")
        except BaseException as error:
            found.append(type(error).__name__)
    return found


def test_a_forked_child_exits_and_can_have_a_server_of_its_own() -> None:
    script = """
import asyncio, os, sys
import streamconductor as sc

async def parent():
    server = sc.Server(sc.Config(port=0))
    async with server:
        child = os.fork()
        if child == 0:
            return False
        return os.waitpid(child, 0)[1] == 0

async def child():
    async with sc.Server(sc.Config(port=0)) as server:
        return server.port > 0

server = sc.Server(sc.Config(port=0))
loop = asyncio.new_event_loop()
loop.run_until_complete(server.start())
pid = os.fork()
if pid == 0:
    # The end of this interpreter lets go of everything that it inherited.
    sys.exit(0 if asyncio.run(child()) else 3)
assert os.waitpid(pid, 0)[1] == 0
loop.run_until_complete(server.shutdown(0))
print("fine")
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr


def test_import_starts_no_thread() -> None:
    script = (
        "import os, streamconductor; "
        "streamconductor.Server(streamconductor.Config(port=0)); "
        "print(len(os.listdir('/proc/self/task')))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "1\n"


async def test_threads_end_with_the_server() -> None:
    async with echo_server(threads=4):
        # A thread names itself.
        await until(lambda: shard_threads() == 4)
    await until(lambda: shard_threads() == 0)


async def test_a_failed_shard_stops_the_server_and_serve_forever_says_why() -> None:
    server = echo_server()
    async with server, client(server) as peer:
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        server._dispatcher._on_failure("shard 0 panicked")
        with pytest.raises(RuntimeError, match="shard 0 panicked"):
            async with asyncio.timeout(10):
                await serving
        assert (await ending(peer))[0] in (1006, 1012)
