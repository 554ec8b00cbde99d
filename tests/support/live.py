"""Receives a test's settings · hands it a server in the test's own loop, and clients beside it · owns how a test
waits: for a condition and never for a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

import streamconductor as sc
from tests.support import frames, raw
from tests.support.transport import tls_of

SETTINGS: dict[str, Any] = {
    "port": 0,
    "threads": 2,
    "max_connections": 100,
    "memory_budget": "512MiB",
    "close_timeout": 1,
    "shutdown_grace": 3,
}


def server_with(pool_policy: sc.PoolPolicy | None = None, **settings: Any) -> sc.Server:
    """A server that listens on a free port; not started."""
    return sc.Server(sc.Config(**(SETTINGS | settings)), pool_policy)


async def until(
    condition: Callable[[], object], seconds: float = 5.0, *, facts: Callable[[], object] = str
) -> None:
    """Waits until `condition` is true, and fails with `facts` when it does not become so in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {facts()}"
        await asyncio.sleep(0.005)


async def until_async(condition: Callable[[], Awaitable[object]], seconds: float = 5.0) -> None:
    """The same for a condition that must be awaited."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.01)


def client(server: sc.Server, path: str = "/", **options: Any) -> connect:
    """A client of good behaviour, ``async with client(server, "/room") as peer``; over TLS where the server has it."""
    options = {"compression": None, "proxy": None, "ping_interval": None, "max_size": None} | options
    if (tls := tls_of(server)) is not None:
        options = {"ssl": tls} | options
    scheme = "ws" if tls is None else "wss"
    return connect(f"{scheme}://127.0.0.1:{server.port}{path}", **options)


async def ending(peer: ClientConnection, seconds: float = 5.0) -> tuple[int, str]:
    """Reads until the connection ends; the code and reason that the server gave, 1006 for none."""
    async with asyncio.timeout(seconds):
        try:
            while True:
                await peer.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")


def peer_of(server: sc.Server, path: str = "/", *, receive_buffer: int | None = None) -> raw.Peer:
    """A raw peer that has shaken hands and does nothing by itself; it blocks, so keep to a thread what may last."""
    peer = raw.Peer(("127.0.0.1", server.port), receive_buffer=receive_buffer, tls=tls_of(server))
    _raw_peers.append(peer)
    peer.upgrade(path)
    return peer


async def fill_memory(server: sc.Server, path: str, used: int) -> list[raw.Peer]:
    """Opens peers that do not read, and sends to them until the server holds that many bytes."""
    known = {connection.id for connection in server.connections()}
    # All of them first: a budget that is nearly used up lets nobody in.
    count = used // (6 * 2**20) + 1
    peers = [await asyncio.to_thread(peer_of, server, path, receive_buffer=4096) for _ in range(count)]
    await until(lambda: len(server.connections()) == len(known) + count)
    for connection in server.connections():
        while connection.id not in known and connection.buffered_amount < 6 * 2**20:
            if server.pool.memory_used >= used:
                return peers
            await connection.send(b"m" * 2**20)
    raise AssertionError("they hold less than they were sent")


_raw_peers: list[raw.Peer] = []


def close_raw_peers() -> None:
    """Closes what `peer_of` has opened, whatever became of the tests."""
    while _raw_peers:
        _raw_peers.pop().close()


def text(message: str) -> bytes:
    """A client's text frame."""
    return frames.frame(frames.TEXT, message.encode())


async def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    """One plain HTTP request; status and body."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


async def ready(server: sc.Server) -> tuple[int, dict[str, Any]]:
    """What `/readyz` says."""
    status, body = await get(server.port, "/readyz")
    return status, json.loads(body)
