"""`sc.run`, the signals it obeys, and the end of an interpreter whose server still runs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

import streamconductor as sc
from tests.support.programs import Program, ended

# What every program begins with. A feed begins once the server serves: it tells where.
BEGINNING = """
import asyncio, atexit, os, signal, sys, threading, time
from pathlib import Path

@atexit.register
def last():  # registered first, so it runs after the package's own
    deadline = time.monotonic() + 1
    while left() and time.monotonic() < deadline:
        time.sleep(0.01)  # a thread that has ended is listed a moment longer
    print("threads left:", left(), flush=True)

def left():
    return sum(name(task).startswith("streamconductor") for task in Path("/proc/self/task").glob("*/comm"))

def name(task):
    try:
        return task.read_text()
    except OSError:  # it has ended since it was listed
        return ""

import streamconductor as sc

server = sc.Server(sc.Config(port=0, max_connections=100))

@server.feed
async def announce():
    print("port", server.port, flush=True)
    return
    yield
"""


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(BEGINNING + textwrap.dedent(text))
    return str(path)


ECHO = """
@server.on_message("/")
def echo(connection, message):
    connection.send_nowait(message)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_gracefully(tmp_path: Path, number: signal.Signals) -> None:
    script = program(tmp_path, ECHO + "sc.run(server)\nprint('returned')\n")
    with Program(script, cwd=tmp_path) as running:
        port = running.line(r"port (\d+)")[1]
        with connect(f"ws://127.0.0.1:{port}/") as client:
            client.send("still here?")
            assert client.recv(timeout=5) == "still here?"
            running.send(number)
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(timeout=5)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == sc.CloseCode.SERVICE_RESTART
        assert running.wait() == 0
        assert running.output[-2:] == ["returned", "threads left: 0"]


STUBBORN = """
@server.route("/")
async def stubborn(connection):
    await asyncio.sleep(3600)  # runs on after its connection, up to handler_timeout
"""


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    script = program(tmp_path, STUBBORN + "sc.run(server)\n")
    with Program(script, cwd=tmp_path) as running:
        port = running.line(r"port (\d+)")[1]
        with connect(f"ws://127.0.0.1:{port}/") as client:
            running.send(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=5)
        assert running.is_running()
        before = time.monotonic()
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        assert time.monotonic() - before < 5  # and not handler_timeout, 10 s


def test_a_third_signal_is_the_process_s_own(tmp_path: Path) -> None:
    text = """
    @server.route("/")
    async def unkillable(connection):
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                print("will not", flush=True)

    sc.run(server)
    """
    with Program(program(tmp_path, text), cwd=tmp_path) as running:
        port = running.line(r"port (\d+)")[1]
        with connect(f"ws://127.0.0.1:{port}/") as client:
            running.send(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=5)
        running.send(signal.SIGTERM)
        running.line("will not")
        running.send(signal.SIGTERM)
        assert running.wait() == -signal.SIGTERM


def test_handlers_are_put_back(tmp_path: Path) -> None:
    text = """
    def mine(number, frame):
        print("mine", flush=True)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        signal.signal(number, mine)

    @server.on_health("self")
    async def stop():
        os.kill(os.getpid(), signal.SIGTERM)
        return sc.Health.ok()

    sc.run(server)
    print("restored", all(signal.getsignal(number) is mine for number in numbers))
    """
    code, lines = ended(program(tmp_path, text), cwd=tmp_path)
    assert code == 0
    assert lines[-2] == "restored True"
    assert "mine" not in lines


def test_a_signal_while_it_starts_ends_it(tmp_path: Path) -> None:
    text = """
    async def start():
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()  # a host name that takes for ever to be looked up

    server.start = start
    sc.run(server)
    print("returned")
    """
    code, lines = ended(program(tmp_path, text), cwd=tmp_path)
    assert (code, lines[0]) == (0, "returned")


@pytest.mark.parametrize(("wanted", "module"), [("None", "uvloop"), ("True", "uvloop"), ("False", "asyncio")])
def test_the_loop_is_chosen(tmp_path: Path, wanted: str, module: str) -> None:
    text = f"""
    @server.on_health("loop")
    async def loop():
        print("loop", type(asyncio.get_running_loop()).__module__.split(".")[0], flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        return sc.Health.ok()

    sc.run(server, uvloop={wanted})
    """
    code, lines = ended(program(tmp_path, text), cwd=tmp_path)
    assert code == 0
    assert f"loop {module}" in lines


def test_without_uvloop(tmp_path: Path) -> None:
    text = """
    sys.modules["uvloop"] = None
    try:
        sc.run(server, uvloop=True)
    except RuntimeError as error:
        print(error)
    """
    code, [line, _] = ended(program(tmp_path, text), cwd=tmp_path)
    assert code == 0
    assert "pip install streamconductor[uvloop]" in line


def test_only_the_main_thread_may_run() -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            sc.run(sc.Server(sc.Config(port=0)))
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert "main thread" in str(raised[0])


async def test_a_running_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match="async with server"):
        sc.run(sc.Server(sc.Config(port=0)))


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_taken_port_is_one_line_with_advice(taken_port: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(sc.BindError) as caught:
        sc.run(sc.Server(sc.Config(port=taken_port)))
    assert caught.value.errno == errno.EADDRINUSE
    text = str(caught.value)
    assert f"127.0.0.1:{taken_port}" in text
    assert "streamconductor serve module:server" in text
    assert "\n" not in text
    assert signal.getsignal(signal.SIGTERM) is before


async def test_a_shorter_grace_ends_the_longer_wait_too() -> None:
    server = sc.Server(sc.Config(port=0))
    server.route("/")(waiting)
    await server.start()
    with await asyncio.to_thread(connect, f"ws://127.0.0.1:{server.port}/") as client:
        patient = asyncio.create_task(server.shutdown(60))
        with pytest.raises(ConnectionClosed):
            await asyncio.to_thread(client.recv, 5)
        assert not patient.done()
        async with asyncio.timeout(5):
            await server.shutdown(0)
            await patient
    await server.wait_closed()


async def waiting(connection: sc.Connection[None]) -> None:
    await asyncio.Event().wait()


async def test_a_cancelled_shutdown_still_stops() -> None:
    server = sc.Server(sc.Config(port=0))
    server.route("/")(waiting)
    await server.start()
    with await asyncio.to_thread(connect, f"ws://127.0.0.1:{server.port}/") as client:
        stopping = asyncio.create_task(server.shutdown(2))
        with pytest.raises(ConnectionClosed):
            await asyncio.to_thread(client.recv, 5)
        stopping.cancel()
        async with asyncio.timeout(5):
            await server.wait_closed()
    # All of it has ended: it can be started again.
    async with server:
        assert server.port


class Flood:
    """Connections that send without end, so that the server has work at every moment."""

    def __init__(self, port: str, count: int = 8) -> None:
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]

    def _send(self) -> None:
        url = f"ws://127.0.0.1:{self._port}/"
        with contextlib.suppress(WebSocketException, OSError), connect(url, close_timeout=0) as client:
            while not self._over.is_set():
                client.send("x" * 1000)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)


# What floods get, and threads that publish, as workers of a framework would, while the interpreter ends under them.
BUSY = """
loaded = threading.Event()
server.channel("news", overflow="drop_oldest")
seen = 0

@server.route("/")
async def busy(connection):
    global seen
    connection.subscribe("news")
    async for message in connection:
        seen += 1
        if seen >= 2000:
            loaded.set()

def publish():
    while True:
        try:
            server.publish_nowait("news", "y" * 500)
        except sc.Overloaded:
            time.sleep(0.001)

def start_publishing():
    for _ in range(2):
        threading.Thread(target=publish, daemon=True).start()
"""

IN_A_DAEMON_THREAD = """
async def serve():
    async with server:
        serving.set()
        await server.serve_forever()

serving = threading.Event()
threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
serving.wait()
start_publishing()
loaded.wait()
"""

BY_SYS_EXIT = """
def look():
    if loaded.is_set():
        sys.exit()
    loop.call_later(0.01, look)

loop = asyncio.new_event_loop()
loop.run_until_complete(server.start())
start_publishing()
loop.call_soon(look)
loop.run_forever()
"""


@pytest.mark.parametrize("ending", [IN_A_DAEMON_THREAD, BY_SYS_EXIT])
def test_the_interpreter_ends_under_load(tmp_path: Path, ending: str) -> None:
    script = program(tmp_path, BUSY + ending + "\nprint('ends')\n")
    with Program(script, cwd=tmp_path) as running:
        port = running.line(r"port (\d+)")[1]
        with Flood(port):
            # Neither an abort, nor a hang: not 0, or too late.
            assert running.wait() == 0, running.output
    assert "threads left: 0" in running.output, "\n".join(running.output)
    assert not [line for line in running.output if "Fatal" in line or "panicked" in line]


def test_a_forked_child_leaves_the_server_to_its_parent(tmp_path: Path) -> None:
    text = """
    async def serve():
        async with server:
            serving.set()
            await server.serve_forever()

    serving = threading.Event()
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    serving.wait()
    if (child := os.fork()) == 0:
        sys.exit(7)  # through every atexit function and finalizer
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print("serves", server.publish_nowait("news", "x"))
    """
    code, lines = ended(program(tmp_path, text), cwd=tmp_path)
    assert code == 0
    assert "child 7" in lines
    assert "serves 0" in lines
