"""The interpreter ends while servers work: it neither aborts nor hangs. `test_run` looks at each way once, here every
way is gone many times.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import ended

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, ctypes, os, random, socket, sys, threading, time
import streamconductor as sc

way, delay = sys.argv[1], float(sys.argv[2])
server = sc.Server(sc.Config(port=0, threads=2, max_connections=100))
server.channel("*", overflow="drop_oldest")

@server.on_connect
async def admit(request):
    await asyncio.sleep(0)
    return sc.Accept(subscribe=["news"], context=object())

@server.route("/")
async def echo(connection):
    async for message in connection:
        await connection.send(message)
        if random.random() < 0.01:
            server.connections()

def publish():
    # Until the end of the interpreter, or of the server.
    while True:
        try:
            server.publish_nowait("news", "n" * 300)
            time.sleep(0)
        except sc.Overloaded:
            time.sleep(0.001)
        except sc.NotRunning:
            return

def shout(port):
    head = (b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n")
    frame = b"\\x82\\xfe\\x01\\x00\\0\\0\\0\\0" + b"x" * 256
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as peer:
                peer.settimeout(1)
                peer.sendall(head)
                for _ in range(50):
                    peer.sendall(frame * 20)
                    peer.recv(65536)
        except OSError:
            time.sleep(0.001)

def work(port):
    for target in (publish, publish):
        threading.Thread(target=target, daemon=True).start()
    for _ in range(3):
        threading.Thread(target=shout, args=[port], daemon=True).start()

async def serve():
    async with server:
        work(server.port)
        ready.set()
        if way == "returns":
            await asyncio.sleep(delay)
        elif way == "raises":
            await asyncio.sleep(delay)
            raise SystemExit(0)
        else:
            await server.serve_forever()

ready = threading.Event()
if way in ("returns", "raises"):
    server.config = server.config.replace(shutdown_grace=1.5, close_timeout=0.4)
    asyncio.run(serve())
elif way == "daemon":
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    time.sleep(delay)
elif way == "abandoned":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(server.start())
    work(server.port)
    loop.run_until_complete(asyncio.sleep(delay))
    # Neither stopped nor closed; connections and tasks are under way.
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("way", "runs"), [("returns", 5), ("raises", 5), ("daemon", 20), ("abandoned", 20)])
def test_the_interpreter_ends_under_load_every_time(tmp_path: Path, way: str, runs: int) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    for run in range(runs):
        code, lines = ended("-W", "ignore", str(script), way, f"{0.05 + 0.01 * run:.2f}", cwd=ROOT)
        fatal = [
            line for line in lines if "Fatal" in line or "panicked" in line or "terminate called" in line
        ]
        assert (code, fatal) == (0, []), (run, lines)


SLOW_BIRTH = """
import asyncio, socket, sys, threading, time
import streamconductor as sc

server = sc.Server(sc.Config(port=0, threads=1, max_connections=8))
server.on_message("/")(lambda connection, message: None)
born, ready = threading.Event(), threading.Event()

class Late:
    sleep = staticmethod(time.sleep)

    def __del__(self):
        # The interpreter is being torn down by now; this thread lets the other one ask for it.
        self.sleep(0.5)

late = Late()

def slow(*arguments):
    born.set()
    # Lets go of the interpreter again and again, until it ends this thread instead of coming back.
    while True:
        time.sleep(0.005)

server._connect = slow

async def serve():
    await server.start()
    ready.set()
    await server.serve_forever()

threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
ready.wait()
peer = socket.create_connection(("127.0.0.1", server.port))
peer.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n")
born.wait()
"""


def test_no_python_code_runs_within_the_native_half(tmp_path: Path) -> None:
    """Else its thread, ended where it waits for the interpreter, would be unwound through Rust."""
    script = tmp_path / "program.py"
    script.write_text(SLOW_BIRTH)
    assert ended("-W", "ignore", str(script), cwd=ROOT) == (0, [])
