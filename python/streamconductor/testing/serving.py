"""Receives a server · hands it out while it runs on a free port of this machine, in the loop of whoever asks · owns the
configuration it had before, which it gets back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..server import Server

__all__ = ["Serving", "serving"]


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs for a test.

    Attributes:
        server: itself.
        host: the address it listens on.
        port: the port it listens on.
    """

    server: Server
    host: str
    port: int

    def url(self, path: str = "/") -> str:
        """The address of a route.

        Args:
            path: begins with a slash, and may have a query.
        """
        scheme = "ws" if self.server.config.tls_certificate is None else "wss"
        return f"{scheme}://{self.host}:{self.port}{path}"


@asynccontextmanager
async def serving(server: Server, *, grace: float = 1.0) -> AsyncIterator[Serving]:
    """Runs a server on a free port of 127.0.0.1, whatever its configuration says, inside an ``async with``.

    The admin address, where there is one, gets a free port, too. When the block is left, the server shuts down and has
    its configuration back, so that the application's own server can be tested again and again.

    Args:
        server: one that does not run.
        grace: seconds that connections have for their end; then they are reset and their handlers cancelled.

    Raises:
        RuntimeError: it runs already.
    """
    before = server.config
    admin_port = None if before.admin_port is None else 0
    server.config = before.replace(host="127.0.0.1", port=0, unix_socket=None, admin_port=admin_port)
    try:
        await server.start()
        try:
            yield Serving(server, "127.0.0.1", server.port)
        finally:
            await server.shutdown(grace)
    finally:
        server.config = before
