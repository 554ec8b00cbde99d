"""Receives the faults of a test · hands it a server that knows no protocol, a proxy in front of it, a client behind ·
owns how long a client listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import NamedTuple

from streamconductor.testing import ChaosProxy, Faults
from tests.support.live import until
from tests.support.recording_server import Recording, recording

__all__ = ["PATIENCE", "SEED", "Client", "connected", "reset_at_end", "through"]

SEED = 7
PATIENCE = 5.0


class Client(NamedTuple):
    """A connection through a proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def hears(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def ending(self) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                while await self.reader.read(65_536):
                    pass
        except ConnectionError:
            return "RST"
        return "FIN"

    async def hears_nothing(self, seconds: float = 0.2) -> bool:
        """Neither a byte nor an end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.reader.read(1)
                return False
        return True


@contextlib.asynccontextmanager
async def connected(proxy: ChaosProxy) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    try:
        yield client
    finally:
        client.writer.transport.abort()


@contextlib.asynccontextmanager
async def through(
    *, echoes: bool = False, may_read: bool = True, faults: Faults | None = None
) -> AsyncIterator[tuple[Recording, ChaosProxy, Client]]:
    """A server, a proxy and a client that has a connection through it."""
    async with (
        recording(echoes=echoes, may_read=may_read) as server,
        ChaosProxy("127.0.0.1", server.port, seed=SEED, faults=faults) as proxy,
        connected(proxy) as client,
    ):
        await until(lambda: server.connections)
        yield server, proxy, client


def reset_at_end(writer: asyncio.StreamWriter) -> None:
    """Has the socket end by an RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
