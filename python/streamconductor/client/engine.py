"""Receives what links are to be opened · hands each what becomes of it · owns the native half that all connections with
the same limits share, from the first to the last.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .. import _core
from ..config import Config
from ..connection import Connection
from ..exit import stop_now
from ..server import Server
from .link import Link, Token, new_token
from .options import Endpoint

__all__ = ["Engine"]

_Key = tuple[tuple[str, Any], ...]

_engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, Engine]] = (
    weakref.WeakKeyDictionary()
)

# Referred to by nobody else.
_releases: set[asyncio.Task[None]] = set()


class Engine(Server):
    """A server that listens nowhere: its connections are those that we open."""

    _opens = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._links: dict[int, Link] = {}
        self._users = 0
        self._starting: asyncio.Task[None] | None = None
        # Asked for by whoever opened the connection, and never called.
        self.route("/")(_nobody)

    @classmethod
    def of(cls, limits: dict[str, Any]) -> Engine:
        """The engine of the running loop for these fields of `Config`; it ends with its last user."""
        key = tuple(sorted(limits.items()))
        engines = _engines.setdefault(asyncio.get_running_loop(), {})
        engine = engines.get(key)
        if engine is None:
            engine = engines[key] = cls(Config(**({"threads": 1} | limits)))
            engine._key = key
        return engine

    _key: _Key = ()

    async def open(
        self, endpoints: Sequence[Endpoint], *, reconnects: bool, token: Token | None = None
    ) -> Link:
        """Begins a link.

        Args:
            endpoints: at least one.
            reconnects: whether it comes back when a connection ends.
            token: the bearer token, or what gives it; `None`: there is none.
        """
        self._users += 1
        try:
            if token is not None:
                given = await new_token(token)
                endpoints = [replace(endpoint, bearer_token=given) for endpoint in endpoints]
            if self._starting is None:
                self._starting = asyncio.get_running_loop().create_task(self.start())
            await asyncio.shield(self._starting)
            native = self._running("connect").open_link(
                {
                    "endpoints": [endpoint.setting() for endpoint in endpoints],
                    "ping_interval": self.config.ping_interval,
                    "reconnects": reconnects,
                }
            )
        except BaseException:
            await self.release()
            raise
        link = self._links[native.number] = Link(native, self._ended, token)
        return link

    async def release(self) -> None:
        """A link is over, and whoever opened it needs it no more."""
        self._users -= 1
        if self._users == 0:
            engines = _engines.get(asyncio.get_running_loop(), {})
            if engines.get(self._key) is self:
                del engines[self._key]
            try:
                await self.shutdown(self.config.close_timeout)
            except asyncio.CancelledError:
                # The loop ends, and waits for nothing that begins now.
                self._dispatcher.stop()
                stop_now(self)
                raise

    def release_after(self, link: Link) -> None:
        """The same once the link is over, for whoever does not wait for it."""

        async def release() -> None:
            await link.ended()
            await self.release()

        # Of the loop and not of the engine's own group, which ends with this.
        task = asyncio.get_running_loop().create_task(release(), name="streamconductor release")
        _releases.add(task)
        task.add_done_callback(_releases.discard)

    # What the server's parts call.

    async def _addresses(self) -> list[str]:
        return []

    async def _settings(self) -> dict[str, Any]:
        # Of the environment's settings those of a listening address are not for us.
        return await super()._settings() | {"unix_socket": None, "tls": None, "tokens": None}

    async def _start_admin(self, native: _core.Server) -> None:
        """It has none."""

    def _where(self) -> str:
        return "no address, for outgoing connections"

    def _connected(self, connection: Connection[Any], dial: int) -> None:
        if (link := self._links.get(dial >> 32)) is not None:
            link.connected(connection)
        else:
            connection.close()

    def _told(self, link: int, what: str, *more: Any) -> None:
        if (told := self._links.get(link)) is not None:
            told.told(what, *more)

    def _ended(self, link: Link) -> None:
        self._links.pop(link.number, None)


async def _nobody(connection: Connection[Any]) -> None:
    """The handler of connections that have none."""
