"""Receives the bytes of whoever connects · hands a test what came, and how it ended · owns a plain asyncio server that
knows no protocol, and its connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["Heard", "Recording", "recording"]


@dataclass
class Heard:
    """One connection.

    Attributes:
        ending: ``"FIN"`` or ``"RST"``; None: not yet.
        reads: set: it reads.
    """

    writer: asyncio.StreamWriter
    data: bytearray = field(default_factory=bytearray)
    ending: str | None = None
    reads: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Recording:
    """The server; what it hears it may echo."""

    port: int = 0
    connections: list[Heard] = field(default_factory=list)
    echoes: bool = False
    may_read: bool = True

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = Heard(writer)
        self.connections.append(heard)
        if self.may_read:
            heard.reads.set()
        try:
            while True:
                await heard.reads.wait()
                data = await reader.read(4096)
                if not data:
                    heard.ending = "FIN"
                    return
                heard.data += data
                if self.echoes:
                    writer.write(data)
        except ConnectionError:
            heard.ending = "RST"
        finally:
            writer.close()


@asynccontextmanager
async def recording(
    *, echoes: bool = False, may_read: bool = True, path: str | None = None
) -> AsyncIterator[Recording]:
    """Listens on a free port, or on a path."""
    record = Recording(echoes=echoes, may_read=may_read)
    if path is None:
        server = await asyncio.start_server(record.handle, "127.0.0.1", 0, limit=4096)
        record.port = server.sockets[0].getsockname()[1]
    else:
        server = await asyncio.start_unix_server(record.handle, path)
    try:
        yield record
    finally:
        server.close()
        for heard in record.connections:
            heard.reads.set()
            heard.writer.transport.abort()
        await asyncio.wait_for(server.wait_closed(), 5)
