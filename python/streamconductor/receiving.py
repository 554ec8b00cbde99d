"""Receives the native receiver of a connection · hands its messages to whoever asks for the next · owns how the
application asks, and hears of the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from .close import CloseCode
from .errors import ConnectionClosed, WrongThread
from .validation import Validator

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from ._core import ConnectionHandle, Receiver
    from .notices import Closed
    from .publishing import Publishing

__all__ = ["Receiving"]

M = TypeVar("M")


class Receiving:
    """The receiving side of a connection.

    Its messages are with its native receiver: one that comes goes straight to the task that waits for it.
    """

    __slots__ = ("_handle", "_loop", "_receiver", "_server", "closed")

    def __init__(self, server: Publishing, handle: ConnectionHandle, receiver: Receiver) -> None:
        self._server = server
        self._handle = handle
        self._receiver = receiver
        self._loop = server._loop
        self.closed: Closed | None = None

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
            return await self._receiver
        except (StopAsyncIteration, ConnectionClosed):
            # The caller's own, and not what an iteration that ended is told by.
            raise self._closed_error() from None

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        # Not `self`: every message would come through a call in Python.
        return self._receiver

    async def __anext__(self) -> str | bytes:
        """The next message; iteration ends with a connection that ends in peace, else ConnectionClosedError."""
        return await self._receiver

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

    def _end_receiving(self) -> None:
        closed = self.closed
        if closed is None or ConnectionClosed.is_peaceful(closed.code):
            self._receiver.end(None)
        else:
            self._receiver.end(partial(ConnectionClosed.of, closed.code, closed.reason, closed.by))
