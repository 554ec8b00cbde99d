"""Receives the load generator's connections · answers them as a test wants · owns a server of `websockets`, as somebody
else's server, and one of ours, each in a thread of its own with the same paths.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast, serve

import streamconductor as sc
from tests.support.servers import Site

__all__ = ["Peers", "ours", "theirs"]

STALL = 1.0


class Peers:
    """What a server of `websockets` saw of its clients."""

    def __init__(self) -> None:
        self.subscribers: set[ServerConnection] = set()
        self.headers: list[dict[str, str]] = []
        self.addresses: set[str] = set()
        self.subprotocols: set[str | None] = set()
        self.extensions: set[str] = set()
        self.hellos: list[str | bytes] = []
        self.stalls = 1

    async def handle(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        self.headers.append({name.lower(): value for name, value in request.headers.raw_items()})
        self.addresses.add(connection.remote_address[0])
        self.subprotocols.add(connection.subprotocol)
        self.extensions |= {extension.name for extension in connection.protocol.extensions}
        await getattr(self, request.path.strip("/").replace("-", "_"))(connection)

    async def echo(self, connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def fanout(self, connection: ServerConnection) -> None:
        self.subscribers.add(connection)
        try:
            await connection.wait_closed()
        finally:
            self.subscribers.discard(connection)

    async def control(self, connection: ServerConnection) -> None:
        async for message in connection:
            broadcast(self.subscribers, message)

    async def wrong(self, connection: ServerConnection) -> None:
        """The fifth answer is another one."""
        for number in range(1_000_000):
            message = await connection.recv()
            await connection.send("not this" if number == 5 else message)

    async def stall(self, connection: ServerConnection) -> None:
        """Everybody stands still for a second, once."""
        began = time.monotonic()
        async for message in connection:
            if self.stalls and time.monotonic() > began + 0.5:
                self.stalls = 0
                time.sleep(STALL)  # noqa: ASYNC251 - that is what it is for
            await connection.send(message)

    async def hello(self, connection: ServerConnection) -> None:
        self.hellos.append(await connection.recv())
        await connection.send("welcome")
        await self.echo(connection)

    async def wrapped(self, connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(f'{{"you said": {message!r}}}')


@contextmanager
def theirs(**options: Any) -> Iterator[tuple[str, Peers]]:
    """A server of `websockets`: its URL without a path, and what it sees."""
    peers, ready, url = Peers(), threading.Event(), []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def main() -> None:
        settings = {"compression": None, "subprotocols": None} | options
        async with serve(peers.handle, "127.0.0.1", 0, **settings) as server:
            url.append(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[main()], name="websockets")
    thread.start()
    try:
        assert ready.wait(10)
        yield url[0], peers
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def _application(server: sc.Server) -> None:
    server.push("/fanout")

    @server.on_message("/control")
    def control(connection: sc.Connection[Any], message: str | bytes) -> None:
        server.publish_nowait("all", message)


def _admit(request: sc.Request) -> sc.Accept[None]:
    return sc.Accept(subscribe=["all"] if request.path == "/fanout" else [])


@contextmanager
def ours(**settings: Any) -> Iterator[tuple[str, Site]]:
    """A server of ours: its URL without a path, and the site. A slow reader is ended by it sooner than by default."""
    site = Site(
        _application, on_connect=_admit, **({"max_connections": 400, "memory_budget": "2GiB"} | settings)
    )
    site.start()
    try:
        scheme = "ws" if site.tls is None else "wss"
        yield f"{scheme}://127.0.0.1:{site.call(lambda: site.server.port)}", site
    finally:
        site.stop()
