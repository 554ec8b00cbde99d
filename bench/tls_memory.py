"""Receives a number of connections · hands out what an idle one takes of the server's memory, plain and over TLS · owns
a server and a client process per row. `python -m bench.tls_memory --connections 2000`; Linux only.

Resident memory of the server's process is read before and after, divided by the number. Some connections come and go
first, so that what is paid once is not counted. Neither side says anything after the handshake; what the kernel holds
for the sockets is not in it, and is the same in every row.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import streamconductor as sc
from examples.demo.certificate import certificate

WARM_UP = 200
ROWS = {"plain": None, "TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
HEAD = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def main() -> None:
    """Measures every row and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.tls_memory", description=main.__doc__)
    parser.add_argument(
        "--connections", type=int, default=2_000, help="idle ones at once, below 10,000 (default: 2000)"
    )
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    with certificate("127.0.0.1") as files:
        found = {row: _measure(row, arguments.connections, files) for row in ROWS}
    plain = found["plain"]["resident"]
    print(f"{arguments.connections} idle connections, bytes for each")
    print(f"{'':<10}{'resident':>12}{'beside plain':>14}{'ledger, tls':>14}")
    for row, each in found.items():
        print(f"{row:<10}{each['resident']:>12,}{each['resident'] - plain:>14,}{each['ledger']:>14,}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def _measure(row: str, count: int, files: tuple[Path, Path]) -> dict[str, int]:
    with _start("serve", row, *map(str, files)) as server:
        port = _line(server)
        _open(row, port, WARM_UP)
        before = _ask(server, 0)
        with _start("open", row, port, str(count)) as client:
            assert _line(client) == "open"
            after = _ask(server, count)
            _end(client)
        _end(server)
    return {
        "resident": (after["resident"] - before["resident"]) // count,
        "ledger": (after["tls"] - before["tls"]) // count,
    }


def _open(row: str, port: str, count: int) -> None:
    with _start("open", row, port, str(count)) as client:
        assert _line(client) == "open"
        _end(client)


def _start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.tls_memory", *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, f"the process ended with {process.wait()}"
    return line


def _ask(server: subprocess.Popen[str], connections: int) -> dict[str, int]:
    """What the server takes, once it has that many connections."""
    assert server.stdin is not None
    server.stdin.write(f"{connections}\n")
    server.stdin.flush()
    taken: dict[str, int] = json.loads(_line(server))
    return taken


def _end(process: subprocess.Popen[str]) -> None:
    """Both end with their input."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


# The server's process.


async def serve(row: str, chain: str, key: str) -> None:
    """Serves connections that Python knows nothing of, and answers questions on its input."""
    tls: dict[str, Any] = {} if ROWS[row] is None else {"tls_certificate": chain, "tls_key": key}
    server = sc.Server(sc.Config(port=0, threads=1, ping_interval=None, **tls))
    server.push("/")
    loop = asyncio.get_running_loop()
    async with server:
        print(server.port, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            while (pool := server.pool).occupied != int(line) or pool.pending:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            # Two ticks more: the ledger is told once a tick.
            await asyncio.sleep(0.2)
            tls_bytes = server.status()["ledger"]["owners"]["tls"]
            print(json.dumps({"resident": resident(), "tls": tls_bytes}), flush=True)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# The client's process.


async def hold(row: str, port: str, count: int) -> None:
    """Opens that many connections and holds them until its input ends."""
    context = None
    if (version := ROWS[row]) is not None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
    gate = asyncio.Semaphore(50)

    async def open_one() -> asyncio.StreamWriter:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port), ssl=context)
            writer.write(HEAD)
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            return writer

    writers = await asyncio.gather(*(open_one() for _ in range(count)))
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for writer in writers:
        writer.transport.abort()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    match sys.argv[1:]:
        case ["serve", row, chain, key]:
            asyncio.run(serve(row, chain, key))
        case ["open", row, port, count]:
            asyncio.run(hold(row, port, int(count)))
        case _:
            main()
