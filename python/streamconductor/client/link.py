"""Receives what becomes of a link · hands its connections to whoever waits for the next · owns how its end is told."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionClosed, HandshakeRefused, OpeningError, OpeningTimeout, Unreachable

if TYPE_CHECKING:
    from .._core import OutgoingLink
    from ..connection import Connection

__all__ = ["Link"]

logger = logging.getLogger("streamconductor.client")


class Link:
    """One connection at a time to a service, kept up by the native half."""

    def __init__(self, native: OutgoingLink, on_end: Callable[[Link], None]) -> None:
        self._native = native
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._opened: deque[Connection[None]] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._error: BaseException | None = None
        self.is_over = False

    @property
    def number(self) -> int:
        """The native half's name for it."""
        return self._native.number

    async def next(self) -> Connection[None] | None:
        """The next connection that is opened; None: the link is over, in peace.

        Raises:
            OpeningError: no endpoint will have us.
            ConnectionClosedError: the last connection was closed with a code that says not to come back.
        """
        while True:
            while self._opened:
                connection = self._opened.popleft()
                # One that ended before anybody asked is of no use, unless it brought something.
                return connection
            if self.is_over:
                if self._error is not None:
                    raise self._error
                return None
            await self._until_something()

    async def ended(self) -> None:
        """Waits until it is over."""
        while not self.is_over:
            await self._until_something()

    def stop(self) -> None:
        """Gives up an attempt, closes a connection, and does not come back."""
        self._native.stop()

    async def _until_something(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What the engine calls.

    def connected(self, connection: Connection[None]) -> None:
        """An attempt has become a connection."""
        self._opened.append(connection)
        self._wake()

    def told(self, what: str, *more: Any) -> None:
        """What the native half says of it."""
        if what == "failed":
            error, wait = more
            logger.warning("%s; the next try is in %.2f s", error[1], wait)
        elif what == "ended":
            why, code, error = more
            if error is not None:
                self._error = _error(*error)
            elif why == "closed" and not ConnectionClosed.is_peaceful(code):
                self._error = ConnectionClosed.of(code)
            self.is_over = True
            self._on_end(self)
            self._wake()


def _error(
    kind: str,
    words: str,
    status: int | None,
    retry_after: float | None,
    headers: list[tuple[str, str]] | None,
    body: bytes | None,
) -> Exception:
    if kind == "invalid":
        return ValueError(words)
    if kind == "timed_out":
        return OpeningTimeout(words)
    if kind == "unreachable":
        return Unreachable(words)
    if status is not None:
        return HandshakeRefused(words, status, retry_after, tuple(headers or ()), body or b"")
    return OpeningError(words)
