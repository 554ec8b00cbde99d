"""Receives endings from the dispatcher · hands payloads to the native half · owns what the application sees of one
connection, but for its messages (`receiving`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .admission import Context_co
from .close import CloseCode, check_close
from .errors import NotRunning
from .lifetime import Moment, seconds_until
from .notices import Backpressure, Closed, State
from .receiving import Receiving

if TYPE_CHECKING:
    from ._core import ConnectionHandle, Receiver, Request
    from .publishing import Publishing
    from .registration import Callback

__all__ = ["Backpressure", "Closed", "Connection", "State"]

R = TypeVar("R")

# What became of a message, as in the native half.
_SENT, _SENT_MANY, _MUST_WAIT, _NO_ROOM, _NOT_OPEN, _NOT_ENCODED = range(6)

# One for all: every `frozenset()` is an object of its own.
_NONE: frozenset[str] = frozenset()


class _Ended:
    """What `Connection.close` returns: awaiting it waits for the end, ignoring it does not."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def __await__(self) -> Generator[Any, None, None]:
        return self._connection.wait_closed().__await__()


class Connection(Receiving, Generic[Context_co]):
    """One open WebSocket connection. Made by the server; the handler gets it.

    Its parameter is the type of `context`: a `Connection[User]` where `on_connect` returns an `Accept[User]`, a
    `Connection[None]` where it attaches nothing. All methods belong to the event loop's thread, except `close` and
    `extend`, which may be called from any.

    Attributes:
        user: the user that `on_connect` or its bearer token named, or None.
        context: the object that `on_connect` attached, or None.
        subprotocol: the subprotocol that was selected, or None.
        closed: how it ended, once it has.
    """

    __slots__ = (
        "__weakref__",
        "_callback",
        "_channels",
        "_ended",
        "_is_asked_to_close",
        "_is_finished",
        "_left",
        "_request",
        "_senders",
        "_senders_in_turn",
        "_tasks",
        "_writable",
        "context",
        "subprotocol",
        "user",
    )

    def __init__(
        self,
        server: Publishing,
        handle: ConnectionHandle,
        receiver: Receiver,
        request: Request | None,
        subprotocol: str | None,
        user: str | None,
        context: Context_co,
    ) -> None:
        super().__init__(server, handle, receiver)
        self._request = request
        # The function of an `on_message` route: it gets the messages, and nobody asks for them.
        self._callback: Callback | None = None
        self.subprotocol = subprotocol
        self.user = user
        self.context = context
        self._writable: list[asyncio.Future[None]] | None = None
        self._senders: asyncio.Lock | None = None
        self._senders_in_turn = 0
        self._ended: list[asyncio.Future[None]] | None = None
        self._tasks: set[asyncio.Task[Any]] | None = None
        # Made when they are needed: most connections have no channel of their own, and no tasks.
        self._channels: set[str] | None = None
        self._left: frozenset[str] = _NONE
        self._is_asked_to_close = False
        self._is_finished = False

    # What it is.

    @property
    def id(self) -> str:
        """Its name, unique in the process for ever."""
        return self._handle.id

    @property
    def request(self) -> Request:
        """The request that opened it.

        Raises:
            LookupError: its route is a `push` route, which does not keep requests, or `connect` opened it.
        """
        if self._request is None and self._server._opens:
            raise LookupError(f"connection {self.id} was opened by connect(); what was asked is known there")
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
        """The client's host and port, as `Request.remote_address`; None on a Unix socket, and on a `push` route."""
        return None if self._request is None else self._request.remote_address

    @property
    def close_code(self) -> int | None:
        """The close code once it has ended, else None."""
        return None if self.closed is None else self.closed.code

    @property
    def close_reason(self) -> str | None:
        """The close reason once it has ended, else None."""
        return None if self.closed is None else self.closed.reason

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
        # Not whether the lock is held: it is free between its release and the next one's step, and who runs in
        # between must not overtake.
        if self._senders_in_turn == 0:
            answer = self._handle.try_send(message)
            if answer == _NOT_ENCODED:
                message = self._server._encode(message)
                answer = self._handle.try_send(message)
            if answer == _SENT:
                return
            if answer == _SENT_MANY:
                await asyncio.sleep(0)
                return
        await self._send_in_turn(message)

    async def _send_in_turn(self, message: object) -> None:
        self._check_thread("send")
        payload = self._server._encode(message)
        if self._senders is None:
            self._senders = asyncio.Lock()
        self._senders_in_turn += 1
        try:
            # asyncio's lock is fair: first in, first out, and one at a time.
            async with self._senders:
                while (answer := self._handle.try_send(payload)) > _SENT_MANY:
                    if answer == _NOT_OPEN:
                        await self._raise_closed()
                    elif answer == _MUST_WAIT:
                        await self._until_writable()
                    else:
                        await self._until_room()
        finally:
            self._senders_in_turn -= 1

    async def _until_room(self) -> None:
        try:
            await self._server._until_room("send")
        except NotRunning:
            # The server has stopped, and no connection outlives it.
            raise self._closed_error() from None

    def send_nowait(self, message: object) -> None:
        """As `send`, but never waits.

        Raises:
            Full: it would pass `Config.max_buffered`; nothing was sent.
            ConnectionClosed, MessageTooBig, Overloaded: as in `send`.
        """
        answer = self._handle.send_nowait(message)
        if answer == _NOT_ENCODED:
            answer = self._handle.send_nowait(self._server._encode(message))
        if answer != _SENT:
            raise self._closed_error()

    async def drain(self) -> None:
        """Waits until at most `Config.low_water` bytes are buffered.

        Raises:
            ConnectionClosed: it has ended with more than that unsent, or ends while this waits.
            WrongThread: not called on the loop's thread.
        """
        self._check_thread("drain")
        while self._handle.is_above_low_water():
            await self._until_writable()

    async def _until_writable(self) -> None:
        # Nobody wakes those who come after the end.
        if self.closed is None:
            waiter = self._loop.create_future()
            if self._writable is None:
                self._writable = []
            self._writable.append(waiter)
            await waiter
        if self.closed is not None:
            raise self._closed_error()

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
        channels = self._channels or ()
        if channel not in channels and len(channels) >= (limit := self._server.config.max_channels):
            raise ValueError(f"connection {self.id} has {limit} channels already (max_channels)")
        self._handle.join(channel, None if first is None else self._server._encode(first))
        if self._channels is None:
            self._channels = set()
        self._channels.add(channel)
        if channel in self._left:
            self._left -= {channel}

    def unsubscribe(self, channel: str) -> None:
        """Ends a subscription; what was published before still comes.

        Args:
            channel: its name; not being subscribed to it is no error.
        """
        self._check_thread("unsubscribe")
        # Commands of this sort are never refused, so there must be none for nothing. The channels that `Accept` named
        # for a connection of a push route are known to its shard only, so there each name is believed once.
        channels = self._channels or ()
        if channel in channels or (self._request is None and channel not in self._left):
            is_known = self._handle.part(channel)
            if self._channels is not None:
                self._channels.discard(channel)
            if is_known and self._request is None:
                self._left |= {channel}

    # Ending.

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> _Ended:
        """Ends the connection, after what is pending has been written; may be called from any thread.

        Acts when called. The result may be awaited on the event loop's thread, to wait for the end, or ignored.
        A connection that is closing or closed keeps its first cause: another call does nothing.

        Args:
            code: 1000–1003, 1007–1014 or 3000–4999.
            reason: at most 123 bytes of UTF-8, for whoever reads the peer's log.

        Raises:
            ValueError: the code may not be sent, or the reason is longer than 123 bytes.
            TypeError: wrong types.
        """
        code, reason = check_close(code, reason)
        # Commands of this sort are never refused, so there must be none for nothing.
        if not self._is_asked_to_close and self._handle.state_number < State.CLOSING:
            self._handle.end(code, reason)
            self._is_asked_to_close = True
        return _Ended(self)

    def extend(self, until: Moment) -> None:
        """Has its life end then, sooner or later than so far: it is closed with 4401 `token_expired`, whatever it
        does.

        May be called from any thread. Without this call it ends with its bearer token, or at `Accept.expires_at`;
        without either it lives on. The time until then is counted from this call on: a clock that is set meanwhile
        changes nothing. A connection that is closing or closed stays so.

        Args:
            until: a datetime with a time zone, or seconds since 1970; in the past: it is closed now; ``math.inf``:
                never.

        Raises:
            Overloaded: the shard's mailbox is full; nothing was changed.
            TypeError: it is neither.
            ValueError: a datetime without a time zone, or NaN.
        """
        seconds = seconds_until("until", until)
        if self._handle.state_number < State.CLOSING:
            self._handle.extend(seconds)

    async def wait_closed(self) -> None:
        """Waits until it has ended."""
        if self.closed is None:
            self._check_thread("wait_closed")
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

        Raises:
            ConnectionClosed: it has ended and its handler returned, as in `on_close`; the coroutine is closed and
                does not run.
            TypeError: it is no coroutine.
            WrongThread: not called on the loop's thread; the coroutine is closed.
        """
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(
                f"create_task takes a coroutine, not {type(coroutine).__name__}; "
                "call the `async def`: connection.create_task(work(connection))"
            )
        try:
            self._check_thread("create_task")
            if self._is_finished:
                raise self._closed_error()
        except BaseException:
            coroutine.close()
            raise
        task: asyncio.Task[R] = self._server._handlers.spawn(coroutine, f"{self.id} task")
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _raise_closed(self) -> None:
        await self.wait_closed()
        raise self._closed_error()

    # What the dispatcher calls.

    def _write(self) -> None:
        for waiter in self._take_writable():
            if not waiter.done():
                waiter.set_result(None)

    def _take_writable(self) -> list[asyncio.Future[None]]:
        waiters, self._writable = self._writable or [], None
        return waiters

    def _end(self, closed: Closed) -> None:
        self.closed = closed
        self._end_receiving()
        self._write()
        waiters, self._ended = self._ended or [], None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _finish(self) -> None:
        """It has ended and its handler returned: its tasks go, and none may begin."""
        self._is_finished = True
        for task in tuple(self._tasks or ()):
            task.cancel()

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.state.name}>"
