"""Run by `make wheel` inside a clean environment into which nothing but the wheel was installed.

Receives no argument · prints what it found · fails the target by raising.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.metadata
import os
import socket
import subprocess
import sys
from pathlib import Path

import streamconductor as sc
from streamconductor import _core

# RFC 6455 §1.3.
ACCEPT_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def check_installation() -> None:
    """The package comes from the environment, with its typing marker and a stable-ABI extension."""
    package = Path(sc.__file__).parent
    assert package.is_relative_to(Path(sys.prefix).resolve()), f"imported from elsewhere: {package}"
    module = Path(_core.__file__).name
    assert module.endswith((".abi3.so", ".pyd")), f"not a stable-ABI module: {module}"
    for name in ("py.typed", "_core.pyi", "static/streamconductor.js", "schema/status.schema.json"):
        assert (package / name).is_file(), f"the wheel lacks {name}"
    assert sc.__version__ == importlib.metadata.version("streamconductor")


async def check_server() -> None:
    """A server starts, echoes, and stops."""
    server = sc.Server(sc.Config(port=0, max_connections=10))

    @server.route("/echo")
    async def echo(connection: sc.Connection) -> None:
        async for message in connection:
            await connection.send(message)

    async with server:
        answer = await asyncio.to_thread(echoed, server.port, "grüße")
    assert answer == "grüße", answer


def echoed(port: int, text: str) -> str:
    """What comes back for a text of less than 126 bytes: a whole WebSocket client."""
    payload = text.encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer, peer.makefile("rb") as answers:
        key = base64.b64encode(os.urandom(16))
        head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        peer.sendall(head + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
        status = answers.readline()
        assert status.startswith(b"HTTP/1.1 101 "), status
        headers = dict(line.rstrip().lower().split(b": ", 1) for line in iter(answers.readline, b"\r\n"))
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_KEY).digest())
        assert headers[b"sec-websocket-accept"] == accept.lower(), headers
        # FIN and text; masked, as a client's frames must be.
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        peer.sendall(bytes([0x81, 0x80 | len(payload)]) + mask + masked)
        opcode, length = answers.read(2)
        assert opcode == 0x81, opcode
        return answers.read(length).decode()


def check_command_line() -> None:
    """Without the extra the command says in one line what to install."""
    program = Path(sys.executable).with_name("streamconductor")
    run = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    hint = run.stderr.strip()
    assert run.returncode == 1, run
    assert hint.count("\n") == 0, hint
    assert "pip install streamconductor[cli]" in hint, hint


if __name__ == "__main__":
    check_installation()
    asyncio.run(check_server())
    check_command_line()
    print(f"streamconductor {sc.__version__} works on Python {sys.version.split()[0]}")
