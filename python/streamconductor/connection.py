"""Receives messages and endings from the dispatcher · hands messages to the handler and payloads to the native
half · owns what the application sees of one connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Generator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .admission import Context_co
from .close import CloseCode, check_close
from .errors import ConnectionClosed, ConnectionClosedOK
from .validation import Validator

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from ._core import ConnectionHandle, Request
    from .registration import Callback
    from .publishing import Publishing

__all__ = ["Backpressure", "Closed", "Connection", "State"]

M = TypeVar("M")
R = TypeVar("R")

# What `ConnectionHandle.try_send` answers.
_SENT, _MUST_WAIT, _NO_ROOM, _NOT_OPEN = range(4)

# Calls that need not wait still let other tasks run once in so many.
_IN_A_ROW = 64


class State(IntEnum):
    """Where a connection stands, as in every WebSocket API."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class Backpressure:
    """What `on_backpressure` is told, at most once a second per connection.

    Attributes:
        above: whether the connection is above high water now.
        buffered_amount: bytes pending now.
        dropped: messages dropped by policy since the last such event.
    """

    __slots__ = ("above", "buffered_amount", "dropped")

    def __init__(self, above: bool, buffered_amount: int, dropped: int) -> None:
        self.above, self.buffered_amount, self.dropped = above, buffered_amount, dropped

    def __repr__(self) -> str:
        return f"Backpressure(above={self.above}, buffered_amount={self.buffered_amount}, dropped={self.dropped})"


class Closed:
    """How a connection ended; `on_close` gets it as `connection.closed`.

    Attributes:
        code: the close code; 1005 where the peer gave none, 1006 where the connection was lost.
        reason: the close reason, with value and limit where a limit ended it.
        ending: the ending's name in the closed list that metrics use, such as ``"slow_consumer"``.
        by: ``"peer"``, ``"application"`` or ``"server"``.
        duration: seconds from accept to end.
        received: messages received, and their bytes.
        sent: messages written to the socket, and their bytes as frames.
        dropped: messages dropped by policy.
    """

    __slots__ = ("by", "code", "dropped", "duration", "ending", "reason", "received", "sent")

    def __init__(
        self,
        code: int,
        reason: str,
        ending: str,
        by: Any,
        duration: float,
        received: tuple[int, int],
        sent: tuple[int, int],
        dropped: int,
    ) -> None:
        self.code, self.reason, self.ending, self.by = code, reason, ending, by
        self.duration, self.received, self.sent, self.dropped = duration, received, sent, dropped

    def __repr__(self) -> str:
        return f"Closed(code={self.code}, reason={self.reason!r}, ending={self.ending!r}, by={self.by!r})"


class _Ended:
    """What `Connection.close` returns: awaiting it waits for the end, ignoring it does not."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def __await__(self) -> Generator[Any, None, None]:
        return self._connection.wait_closed().__await__()


class Connection(Generic[Context_co]):
    """One open WebSocket connection. Made by the server; the handler gets it.

    Its parameter is the type of `context`: a `Connection[User]` where `on_connect` returns an `Accept[User]`, a
    `Connection[None]` where it attaches nothing. All methods belong to the event loop's thread, except `close`,
    which may be called from any.

    Attributes:
        user: the user that `on_connect` named, or None.
        context: the object that `on_connect` attached, or None.
        subprotocol: the subprotocol that was selected, or None.
        closed: how it ended, once it has.
    """

    __slots__ = (
        "__weakref__",
        "_callback",
        "_calls",
        "_channels",
        "_ended",
        "_handle",
        "_inbox",
        "_loop",
        "_readable",
        "_request",
        "_senders",
        "_server",
        "_tasks",
        "_writable",
        "closed",
        "context",
        "subprotocol",
        "user",
    )

    def __init__(
        self,
        server: Publishing,
        handle: ConnectionHandle,
        request: Request | None,
        subprotocol: str | None,
        user: str | None,
        context: Context_co,
    ) -> None:
        self._server = server
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._request = request
        self.subprotocol = subprotocol
        self.user = user
        self.context = context
        self.closed: Closed | None = None
        self._inbox: deque[str | bytes] = deque()
        self._readable: asyncio.Future[None] | None = None
        self._writable: list[asyncio.Future[None]] | None = None
        self._senders: asyncio.Lock | None = None
        self._ended: list[asyncio.Future[None]] | None = None
        self._tasks: set[asyncio.Task[Any]] | None = None
        self._channels: set[str] = set()
        self._callback: Callback | None = None
        self._calls = 0

    # What it is.

    @property
    def id(self) -> str:
        """Its name, unique in the process for ever."""
        return self._handle.id

    @property
    def request(self) -> Request:
        """The request that opened it.

        Raises:
            LookupError: its route is a `push` route, which does not keep requests.
        """
        if self._request is None:
            raise LookupError(f"connection {self.id} is one of a push route, whose requests are not kept")
        return self._request

    @property
    def state(self) -> State:
        """CONNECTING, OPEN, CLOSING or CLOSED."""
        return State(self._handle.state_number)

    @property
    def latency(self) -> float | None:
        """Round trip of the last ping in seconds; None before the first pong."""
        return self._handle.latency

    @property
    def buffered_amount(self) -> int:
        """Bytes accepted for sending, from the call on, that are neither written, dropped nor discarded."""
        return self._handle.buffered_amount

    @property
    def dropped(self) -> int:
        """Messages dropped by an overflow policy since it opened."""
        return self._handle.dropped

    @property
    def remote_address(self) -> tuple[str, int] | None:
        """The peer's host and port; None on a Unix socket, and on a `push` route."""
        return None if self._request is None else self._request.remote_address

    @property
    def close_code(self) -> int | None:
        """The close code once it has ended, else None."""
        return None if self.closed is None else self.closed.code

    @property
    def close_reason(self) -> str | None:
        """The close reason once it has ended, else None."""
        return None if self.closed is None else self.closed.reason

    # Receiving.

    async def recv(self) -> str | bytes:
        """The next message: `str` for text, `bytes` for binary.

        While messages that nobody has taken exceed `Config.max_inbound` bytes, reading pauses and TCP holds
        the peer back.

        Raises:
            ConnectionClosed: it ended, and all messages have been taken.
            RuntimeError: another task is waiting in `recv` already.
        """
        inbox = self._inbox
        if inbox:
            self._calls += 1
            if self._calls % _IN_A_ROW == 0:
                await asyncio.sleep(0)
        while not inbox:
            if self.closed is not None:
                raise self._closed_error()
            if self._readable is not None:
                raise RuntimeError("recv is awaited by another task already; one task at a time may receive")
            self._readable = self._loop.create_future()
            try:
                await self._readable
            finally:
                self._readable = None
        message = inbox.popleft()
        self._handle.taken(message)
        return message

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message; iteration ends with a connection that ends in peace, else ConnectionClosedError."""
        try:
            return await self.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

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

    # Sending.

    async def send(self, message: object) -> None:
        """Sends a message: `str` as text, bytes-like as binary, anything else as JSON text by `Config.encoder`.

        Returns at once while at most `Config.high_water` bytes are buffered; above, it waits until
        `Config.low_water`. Waiting senders go first in, first out. What is sent is never dropped by policy.

        Args:
            message: of at most `Config.max_buffered` bytes; None is the JSON text ``null``.

        Raises:
            ConnectionClosed: it has ended, or ends while this waits.
            MessageTooBig: the message alone is larger than `Config.max_buffered`.
            Overloaded: the shard's mailbox has no room for this message.
        """
        kind = type(message)
        payload = message if kind is str or kind is bytes else self._server._encode(message)
        if self._senders is None or not self._senders.locked():
            answer = self._handle.try_send(payload)
            if answer == _SENT:
                self._calls += 1
                if self._calls % _IN_A_ROW == 0:
                    await asyncio.sleep(0)
                return
        await self._send_in_turn(payload)

    async def _send_in_turn(self, payload: object) -> None:
        if self._senders is None:
            self._senders = asyncio.Lock()
        # asyncio's lock is fair: first in, first out, and one at a time.
        async with self._senders:
            while (answer := self._handle.try_send(payload)) != _SENT:
                if answer == _NOT_OPEN:
                    await self._raise_closed()
                elif answer == _MUST_WAIT:
                    await self._until_writable()
                else:
                    await self._server._until_room()

    def send_nowait(self, message: object) -> None:
        """As `send`, but never waits.

        Raises:
            Full: it would pass `Config.max_buffered`; nothing was sent.
            ConnectionClosed, MessageTooBig, Overloaded: as in `send`.
        """
        kind = type(message)
        payload = message if kind is str or kind is bytes else self._server._encode(message)
        if not self._handle.send_nowait(payload):
            raise self._closed_error()

    async def drain(self) -> None:
        """Waits until at most `Config.low_water` bytes are buffered.

        Raises:
            ConnectionClosed: it has ended, or ends while this waits.
        """
        while self._handle.is_above_low_water():
            await self._until_writable()
            if self.closed is not None:
                raise self._closed_error()

    async def _until_writable(self) -> None:
        waiter = self._loop.create_future()
        if self._writable is None:
            self._writable = []
        self._writable.append(waiter)
        await waiter

    # Channels.

    def subscribe(self, channel: str, first: object = None) -> None:
        """Subscribes to a channel: what is published after this call comes, in the channel's one order.
        Subscribing twice is subscribing once.

        Args:
            channel: 1 to 255 bytes without control characters.
            first: a message, as in `send`, that comes before the first publication; None: none does.

        Raises:
            ValueError: the name is empty, longer than 255 bytes or holds control characters, or the connection
                has `Config.max_channels` channels already.
            Full: `first` would pass `Config.max_buffered`.
            Overloaded: the shard's mailbox is full.
        """
        if channel not in self._channels and len(self._channels) >= self._server.config.max_channels:
            limit = self._server.config.max_channels
            raise ValueError(f"connection {self.id} has {limit} channels already (max_channels)")
        self._handle.join(channel, None if first is None else self._server._encode(first))
        self._channels.add(channel)

    def unsubscribe(self, channel: str) -> None:
        """Ends a subscription; what was published before still comes.

        Args:
            channel: its name; not being subscribed to it is no error.
        """
        self._handle.part(channel)
        self._channels.discard(channel)

    # Ending.

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> _Ended:
        """Ends the connection, after what is pending has been written; may be called from any thread.

        Acts when called. The result may be awaited, to wait for the end, or ignored. A connection that is
        ending already keeps its first cause.

        Args:
            code: 1000–1003, 1007–1014 or 3000–4999.
            reason: at most 123 bytes of UTF-8, for whoever reads the peer's log.

        Raises:
            ValueError: the code may not be sent, or the reason is longer than 123 bytes.
            TypeError: wrong types.
        """
        code, reason = check_close(code, reason)
        self._handle.end(code, reason)
        return _Ended(self)

    async def wait_closed(self) -> None:
        """Waits until it has ended."""
        if self.closed is None:
            waiter = self._loop.create_future()
            if self._ended is None:
                self._ended = []
            self._ended.append(waiter)
            await waiter

    def create_task(self, coroutine: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Starts a task that belongs to this connection: it is cancelled when the connection has ended and its
        handler returned, or `Config.handler_timeout` later. An exception in it is logged.

        Args:
            coroutine: what the task runs.
        """
        task: asyncio.Task[R] = self._server._handlers.spawn(coroutine, f"{self.id} task")
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _closed_error(self) -> ConnectionClosed:
        closed = self.closed
        if closed is None:
            # It is closing: how it ends is not known yet.
            return ConnectionClosed.of(CloseCode.ABNORMAL, "connection is closing", "application")
        return ConnectionClosed.of(closed.code, closed.reason, closed.by)

    async def _raise_closed(self) -> None:
        await self.wait_closed()
        raise self._closed_error()

    # What the dispatcher calls.

    def _deliver(self, message: str | bytes) -> None:
        if self._callback is not None:
            self._server._handlers.received(self, self._callback, message)
            return
        self._inbox.append(message)
        if (waiter := self._readable) is not None and not waiter.done():
            waiter.set_result(None)

    def _write(self) -> None:
        for waiter in self._take_writable():
            if not waiter.done():
                waiter.set_result(None)

    def _take_writable(self) -> list[asyncio.Future[None]]:
        waiters, self._writable = self._writable or [], None
        return waiters

    def _end(self, closed: Closed) -> None:
        self.closed = closed
        if (waiter := self._readable) is not None and not waiter.done():
            waiter.set_result(None)
        self._write()
        waiters, self._ended = self._ended or [], None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.state.name}>"
