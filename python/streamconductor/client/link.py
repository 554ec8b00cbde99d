"""Receives what becomes of a link · hands its connections to whoever waits for the next · owns how its end is told."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..close import CloseCode
from ..errors import ConnectionClosed, HandshakeRefused, OpeningError, OpeningTimeout, Unreachable

if TYPE_CHECKING:
    from .._core import OutgoingLink
    from ..connection import Connection

__all__ = ["Link", "Token", "new_token"]

logger = logging.getLogger("streamconductor.client")

Token = str | Callable[[], str | Awaitable[str]]


class Link:
    """One connection at a time to a service, kept up by the native half."""

    def __init__(self, native: OutgoingLink, on_end: Callable[[Link], None], token: Token | None) -> None:
        self._native = native
        self._on_end = on_end
        self._token = token
        self._renewing: asyncio.Task[None] | None = None
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
            if self._opened:
                # Also one that has ended meanwhile: what it brought is to be received.
                return self._opened.popleft()
            if self.is_over:
                if self._error is not None:
                    raise self._error
                return None
            await self._until_something()

    async def ended(self) -> None:
        """Waits until it is over."""
        while not self.is_over:
            await self._until_something()

    async def _renew(self) -> None:
        try:
            self._native.renew(await new_token(self._token))
        except BaseException as error:
            self._error = error
            self._native.stop()
            if not isinstance(error, Exception):
                raise

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
        elif what == "token_wanted":
            if callable(self._token):
                self._renewing = self._loop.create_task(self._renew())
            else:
                self._error = ConnectionClosed.of(CloseCode.TOKEN_EXPIRED, "token_expired")
                self._native.stop()
        elif what == "ended":
            why, code, error = more
            if self._error is not None:
                # Why we have stopped it ourselves.
                pass
            elif error is not None:
                self._error = _error(*error)
            elif why == "closed" and not ConnectionClosed.is_peaceful(code):
                self._error = ConnectionClosed.of(code)
            self.is_over = True
            self._on_end(self)
            self._wake()


async def new_token(token: Token | None) -> str:
    """What a token is now; of a function, what it gives."""
    given = token() if callable(token) else token
    if inspect.isawaitable(given):
        given = await given
    if not isinstance(given, str):
        raise TypeError(f"bearer_token must be or give text, not {type(given).__name__}")
    return given


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
