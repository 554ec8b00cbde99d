"""Receives readings and lines of this machine · hands them to every page that is connected · owns the server,
its channels and the readers that stall.

Everything about slow readers is in four lines: the `channel` calls below. Nothing else here knows of them.
"""

from __future__ import annotations

import asyncio
import json
import platform
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

import streamconductor as sc

from .readings import CHANNELS, Readings, resident_memory
from .slow import MAX_READERS, SlowReaders
from .tail import Tail

STATIC = Path(__file__).parent / "static"
ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/demo.css": ("demo.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
}
HEARTBEAT = "heartbeat"
READING_PERIOD = 0.1  # seconds
SERVER_PERIOD = 0.5  # seconds
RECENT_LINES = 100  # lines of a file that a page begins with


class Command(BaseModel):
    """What a page may say."""

    echo: float | None = None
    """Its clock, which comes back: the time between is the round trip."""
    slow: int | None = Field(default=None, ge=0, le=MAX_READERS)
    """How many readers shall stall."""


class Demo:
    """The server and what it streams."""

    def __init__(
        self,
        host: str,
        port: int,
        files: Sequence[Path],
        ping_interval: float,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.config = sc.Config(
            host=host,
            port=port,
            ping_interval=ping_interval,
            heartbeat_message=HEARTBEAT,
            max_connections=2 * MAX_READERS,
            max_buffered="1MiB",
            max_inbound="16KiB",
            max_message_size="16KiB",
            close_timeout=1,
            shutdown_grace=5,
            tls_certificate=tls and tls[0],
            tls_key=tls and tls[1],
        )
        self.server = sc.Server(self.config)
        # A reader that falls behind gets the newest reading instead of old ones, from eight seconds on.
        self.server.channel("host:*", overflow="conflate", high_water="8KiB")
        self.server.channel("demo:*", overflow="conflate", high_water="8KiB")
        self.server.channel("file:*", overflow="drop_oldest")
        self._tails = {channel: Tail(path) for channel, path in file_channels(files).items()}
        self._recent = {channel: deque[str](maxlen=RECENT_LINES) for channel in self._tails}
        self._connections: set[sc.Connection[Any]] = set()
        self._dropped_for_those_gone = 0
        self._slow: SlowReaders | None = None
        settings = {
            "host": platform.node(),
            "heartbeat_message": HEARTBEAT,
            "ping_interval": ping_interval,
            "files": list(self._tails),
        }
        self.server.asset("/settings.json", json.dumps(settings).encode(), "application/json")
        for path, (name, content_type) in ASSETS.items():
            self.server.asset(path, STATIC / name, content_type)
        self.server.route("/stream")(self.stream)

    async def stream(self, connection: sc.Connection[Any]) -> None:
        """What one page, or one reader that stalls, gets."""
        for channel in [*CHANNELS, "demo:server"]:
            connection.subscribe(channel)
        for channel, lines in self._recent.items():
            connection.subscribe(channel, first=publication(channel, {"lines": list(lines), "skipped": 0}))
        self._connections.add(connection)
        try:
            async for command in connection.messages(Command):
                if command.slow is not None:
                    await self.stall(command.slow)
                if command.echo is not None:
                    await connection.send(
                        {
                            "echo": command.echo,
                            "at": time.time(),
                            "latency": connection.latency,
                            "dropped": connection.dropped,
                        }
                    )
        finally:
            self._connections.discard(connection)
            self._dropped_for_those_gone += connection.dropped

    async def stall(self, readers: int) -> None:
        """Has that many readers connect and never read."""
        if self._slow is None:
            scheme = "ws" if self.config.tls_certificate is None else "wss"
            self._slow = SlowReaders(scheme, reachable(self.config.host), self.server.port, "/stream")
        await self._slow.want(readers)

    async def run(self, slow: int) -> None:
        """Streams until it is cancelled; call it while the server runs."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publish_readings())
                tasks.create_task(self._publish_lines())
                tasks.create_task(self._publish_server())
                if slow:
                    await self.stall(slow)
        finally:
            if self._slow is not None:
                await self._slow.stop()

    async def _publish_readings(self) -> None:
        readings = Readings()
        async for _ in every(READING_PERIOD):
            for channel, reading in readings.sample().items():
                await self._publish(channel, reading)

    async def _publish_lines(self) -> None:
        try:
            async for _ in every(READING_PERIOD):
                for channel, tail in self._tails.items():
                    if lines := tail.read():
                        self._recent[channel].extend(lines)
                        await self._publish(channel, {"lines": lines, "skipped": tail.skipped})
        finally:
            for tail in self._tails.values():
                tail.close()

    async def _publish_server(self) -> None:
        async for _ in every(SERVER_PERIOD):
            await self._publish("demo:server", self.standing())

    async def _publish(self, channel: str, reading: dict[str, Any]) -> None:
        await self.server.publish(channel, publication(channel, reading))

    def standing(self) -> dict[str, Any]:
        """How the server bears its readers: bytes, and counts of connections and messages."""
        buffered = [connection.buffered_amount for connection in self._connections]
        dropped = sum(connection.dropped for connection in self._connections)
        slow = self._slow
        return {
            "resident": resident_memory(),
            "buffered": sum(buffered),
            "most_buffered": max(buffered, default=0),
            "low_water": self.config.low_water,
            "high_water": self.config.high_water,
            "connections": len(buffered),
            "dropped": dropped + self._dropped_for_those_gone,
            "wanted": slow.wanted if slow else 0,
            "stalled": slow.stalled if slow else 0,
            "cut": slow.cut if slow else 0,
        }


def publication(channel: str, reading: dict[str, Any]) -> dict[str, Any]:
    """What a page gets. Publications have no envelope, so each says what it is, and when it was made."""
    return {"channel": channel, "at": time.time(), "reading": reading}


def file_channels(files: Sequence[Path]) -> dict[str, Path]:
    """A channel per file, named after it, or after its whole path where two have one name."""
    names = [path.name for path in files]
    return {f"file:{path.name if names.count(path.name) == 1 else path}": path for path in files}


def reachable(host: str) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


async def every(period: float) -> AsyncIterator[None]:
    """Steps at a steady rate; steps that were missed are left out, not made up for in a burst."""
    due = time.monotonic()
    while True:
        yield
        due = max(due + period, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


async def run(
    host: str,
    port: int,
    files: Sequence[Path],
    slow: int,
    ping_interval: float,
    tls: tuple[Path, Path] | None = None,
) -> None:
    """Serves until it is cancelled; `tls`: the files of a certificate and its key."""
    demo = Demo(host, port, files, ping_interval, tls)
    async with demo.server:
        name = reachable(host)
        shown = f"[{name}]" if ":" in name else name
        scheme = "http" if tls is None else "https"
        print(f"{scheme}://{shown}:{demo.server.port}/", flush=True)
        await demo.run(slow)
