"""Receives messages from the dispatcher · hands them to whoever asks for the next, or to the route's function · owns
the messages of one connection that nobody has taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NoReturn, TypeVar

from .close import CloseCode
from .errors import ConnectionClosed, ConnectionClosedOK, WrongThread
from .validation import Validator

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from ._core import ConnectionHandle
    from .notices import Closed
    from .publishing import Publishing

__all__ = ["IN_A_ROW", "Receiving"]

M = TypeVar("M")

# Calls that need not wait still let other tasks run once in so many.
IN_A_ROW = 64


class Receiving:
    """The receiving side of a connection.

    Most connections wait most of the time, so a message goes from the dispatcher straight to the task that waits for
    it, and there is no queue until one comes that nobody waits for.
    """

    __slots__ = ("_calls", "_handle", "_inbox", "_loop", "_readable", "_server", "closed")

    def __init__(self, server: Publishing, handle: ConnectionHandle) -> None:
        self._server = server
        self._handle = handle
        self._loop = server._loop
        self.closed: Closed | None = None
        self._inbox: deque[str | bytes] | None = None
        # Its result is the message; None: the connection has ended.
        self._readable: asyncio.Future[str | bytes | None] | None = None
        self._calls = 0

    async def recv(self) -> str | bytes:
        """The next message: `str` for text, `bytes` for binary.

        While messages that nobody has taken exceed `Config.max_inbound` bytes, reading pauses and TCP holds
        the peer back.

        Raises:
            ConnectionClosed: it ended, and all messages have been taken.
            RuntimeError: another task is waiting in `recv` already.
            WrongThread: it would wait in a thread that is not the loop's.
        """
        try:
            return await self.__anext__()
        except (StopAsyncIteration, ConnectionClosed):
            # The caller's own, and not what an iteration that ended is told by.
            raise self._closed_error() from None

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message; iteration ends with a connection that ends in peace, else ConnectionClosedError."""
        inbox = self._inbox
        if inbox:
            self._calls += 1
            if self._calls % IN_A_ROW == 0:
                await asyncio.sleep(0)
        if inbox:
            message = inbox.popleft()
        else:
            # Here and not in a coroutine of its own: every echo comes through here.
            if self.closed is not None:
                self._raise_end()
            # Only here: what need not wait stays cheap.
            self._check_thread("recv")
            if self._readable is not None:
                raise RuntimeError("recv is awaited by another task already; one task at a time may receive")
            waiter: asyncio.Future[str | bytes | None] = self._loop.create_future()
            self._readable = waiter
            try:
                handed_over = await waiter
            except asyncio.CancelledError:
                self._take_back(waiter)
                raise
            finally:
                self._readable = None
            if handed_over is None:
                self._raise_end()
            message = handed_over
        self._handle.taken(message)
        return message

    async def messages(self, model: type[M] | TypeAdapter[M]) -> AsyncIterator[M]:
        """Messages as objects of a model, each made of one text message of JSON.

        Args:
            model: a pydantic model, dataclass, TypedDict, msgspec Struct, any other type that pydantic knows, or a
                `TypeAdapter`.

        Raises:
            WrongMessageType: a binary message; ends the connection with 1003 unless the handler catches it.
            InvalidMessage: the model refuses it; ends the connection with 1007 unless the handler catches it.
        """
        validator = Validator(model)
        async for message in self:
            yield validator.validate(message)

    def _take_back(self, waiter: asyncio.Future[str | bytes | None]) -> None:
        """Whoever waited is cancelled after a message was handed over: it is the next one's."""
        if waiter.done() and not waiter.cancelled() and (message := waiter.result()) is not None:
            if self._inbox is None:
                self._inbox = deque()
            self._inbox.appendleft(message)

    def _raise_end(self) -> NoReturn:
        error = self._closed_error()
        if isinstance(error, ConnectionClosedOK):
            raise StopAsyncIteration
        raise error

    def _closed_error(self) -> ConnectionClosed:
        closed = self.closed
        if closed is None:
            # It is closing: how it ends is not known yet.
            return ConnectionClosed.of(CloseCode.ABNORMAL, "connection is closing", "application")
        return ConnectionClosed.of(closed.code, closed.reason, closed.by)

    def _check_thread(self, call: str) -> None:
        if not self._handle.is_on_loop():
            raise WrongThread(call)

    # What the dispatcher calls.

    def _deliver(self, message: str | bytes) -> None:
        """A message, on a route whose messages are asked for."""
        if (waiter := self._readable) is not None and not waiter.done():
            waiter.set_result(message)
        else:
            if self._inbox is None:
                self._inbox = deque()
            self._inbox.append(message)

    def _end_receiving(self) -> None:
        if (waiter := self._readable) is not None and not waiter.done():
            waiter.set_result(None)
