"""Receives nothing · hands every exception of the package to the application · owns their tree.

* `StreamConductorError`
    * `ConfigError` (`ValueError`): a setting is unknown, malformed or breaks a promise
    * `ConnectionClosed`: the connection ended
        * `ConnectionClosedOK`: in peace, with 1000, 1001 or no code (1005)
        * `ConnectionClosedError`: with any other code, or lost (1006)
    * `Full`: `send_nowait` would pass `max_buffered`
    * `Overloaded`: a shard's mailbox is full
    * `MessageTooBig` (`ValueError`): a payload that no connection could ever take
    * `MessageRefused` (`ValueError`): what came does not fit `connection.messages(Model)`
        * `WrongMessageType`: a binary message where JSON text was expected, closed with 1003
        * `InvalidMessage`: text that the model refuses, closed with 1007
    * `WrongThread` (`RuntimeError`): called from a thread that is not the event loop's
    * `ForkedProcess` (`RuntimeError`): used after `fork`
    * `UnsupportedEventLoop` (`RuntimeError`): neither asyncio nor uvloop
    * `NotRunning` (`RuntimeError`): the server is not started, or has stopped
    * `BindError` (`OSError`): the address cannot be listened on
    * `OpeningError`: `connect` opened nothing: TLS, a proxy, a redirect or a bad answer was in the way
        * `OpeningTimeout` (`TimeoutError`): not within `open_timeout`
        * `Unreachable` (`ConnectionError`): no address took the connection
        * `HandshakeRefused`: the server answered with another status than 101

`ConfigWarning` (`UserWarning`) is for settings that work but will hurt. Types and attributes are stable; the
wording is not. Attributes are also the exception's `args`, so that every one can be copied and pickled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from .close import CloseCode
from .privacy import one_line

__all__ = [
    "BindError",
    "Close",
    "ConfigError",
    "ConfigWarning",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ForkedProcess",
    "Full",
    "HandshakeRefused",
    "InvalidMessage",
    "MessageRefused",
    "MessageTooBig",
    "NotRunning",
    "OpeningError",
    "OpeningTimeout",
    "Overloaded",
    "StreamConductorError",
    "Unreachable",
    "UnsupportedEventLoop",
    "WrongMessageType",
    "WrongThread",
]


class StreamConductorError(Exception):
    """The base of every exception that this package raises by itself."""


class ConfigWarning(UserWarning):
    """A setting that works but will hurt under load."""


class ConfigError(StreamConductorError, ValueError):
    """Settings that are unknown, malformed or break a promise.

    Attributes:
        problems: one line each, with field, value, limit and what to change.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class OpeningError(StreamConductorError):
    """A connection that `connect` was to open could not be: TLS, a proxy, a redirect or a bad answer was in the way."""


class OpeningTimeout(OpeningError, TimeoutError):
    """It was not open within `open_timeout`."""


class Unreachable(OpeningError, ConnectionError):
    """The host's name has no address, or no address took the connection."""


class HandshakeRefused(OpeningError):
    """The server answered with something else than a connection.

    Attributes:
        status: the HTTP status.
        retry_after: seconds for which the server asks to be left alone, or None.
        headers: the answer's, names in lower case, in the order sent.
        body: its first 4 KiB at most.
    """

    def __init__(
        self,
        words: str,
        status: int,
        retry_after: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(words, status, retry_after, headers, body)
        self.status, self.retry_after, self.headers, self.body = status, retry_after, headers, body

    def __str__(self) -> str:
        return str(self.args[0])


class Close(NamedTuple):
    """What a Close frame carried."""

    code: int
    reason: str


class ConnectionClosed(StreamConductorError):
    """The connection ended; raised by whatever awaits it. `ConnectionClosed.of` chooses the subclass.

    Attributes:
        code: the close code; 1005 where the peer gave none, 1006 where the connection was lost.
        reason: the close reason, with value and limit where a limit ended it.
        by: who ended it: `"peer"`, `"application"` or `"server"` (a limit or policy).
    """

    _PEACEFUL: ClassVar = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS})

    def __init__(
        self, code: int, reason: str = "", by: Literal["peer", "application", "server"] = "peer"
    ) -> None:
        super().__init__(code, reason, by)
        self.code, self.reason, self.by = code, reason, by

    @staticmethod
    def of(
        code: int, reason: str = "", by: Literal["peer", "application", "server"] = "peer"
    ) -> ConnectionClosed:
        """The exception for an ending, `ConnectionClosedOK` or `ConnectionClosedError`; `code`, `reason` and `by` are
        its attributes.
        """
        kind = ConnectionClosedOK if ConnectionClosed.is_peaceful(code) else ConnectionClosedError
        return kind(code, reason, by)

    @staticmethod
    def is_peaceful(code: int) -> bool:
        """Whether an ending is `ConnectionClosedOK`.

        Args:
            code: its close code.
        """
        # 1005 is what a page's `socket.close()` gives: as peaceful as 1000.
        return code in ConnectionClosed._PEACEFUL

    @property
    def rcvd(self) -> Close | None:
        """The Close frame that ended the connection, if it was the peer's."""
        return (
            Close(self.code, self.reason) if self.by == "peer" and self.code != CloseCode.ABNORMAL else None
        )

    @property
    def sent(self) -> Close | None:
        """The Close frame that ended the connection, if it was ours."""
        return (
            Close(self.code, self.reason) if self.by != "peer" and self.code != CloseCode.ABNORMAL else None
        )

    def __str__(self) -> str:
        # A peer may say what it likes, and this text ends in logs.
        reason = f", {one_line(self.reason)}" if self.reason else ""
        return f"connection closed by the {self.by} with {self.code}{reason}"


class ConnectionClosedOK(ConnectionClosed):
    """The connection ended in peace: 1000, 1001 or 1005. `async for` ends instead of raising it."""


class ConnectionClosedError(ConnectionClosed):
    """The connection was lost, or ended with a code that says something went wrong."""


class Full(StreamConductorError):
    """`send_nowait` would pass `max_buffered`; nothing was sent.

    Attributes:
        buffered: bytes pending on the connection.
        size: bytes of the refused message, with its frame header.
        limit: `Config.max_buffered`.
    """

    def __init__(self, buffered: int, size: int, limit: int) -> None:
        super().__init__(buffered, size, limit)
        self.buffered, self.size, self.limit = buffered, size, limit

    def __str__(self) -> str:
        return (
            f"message of {self.size} bytes would pass max_buffered: {self.buffered} of {self.limit} bytes "
            "pending; await send(), publish on a channel that drops or conflates, or raise "
            "Config.max_buffered"
        )


class Overloaded(StreamConductorError):
    """A shard's mailbox is full; nothing was queued.

    Attributes:
        pending: bytes waiting in the mailbox.
        limit: bytes that it takes.
    """

    def __init__(self, pending: int, limit: int) -> None:
        super().__init__(pending, limit)
        self.pending, self.limit = pending, limit

    def __str__(self) -> str:
        return (
            f"mailbox is full: {self.pending} of {self.limit} bytes pending; "
            "await publish() or send() instead of the _nowait form, publish less, or raise Config.threads"
        )


class MessageTooBig(StreamConductorError, ValueError):
    """A payload larger than `max_buffered`: no connection could ever take it, so it reached nobody.

    Attributes:
        size: bytes of the payload.
        limit: `Config.max_buffered`.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size, self.limit = size, limit

    def __str__(self) -> str:
        return (
            f"message of {self.size} bytes is larger than max_buffered, {self.limit} bytes; "
            "split it, or raise Config.max_buffered"
        )


class MessageRefused(StreamConductorError, ValueError):
    """What came does not fit the model of `connection.messages(Model)`.

    Attributes:
        code: the close code that the connection ends with when the handler lets the exception pass.
        reason: the close reason; says what is wrong and never repeats the message.
    """

    code: ClassVar[CloseCode] = CloseCode.INVALID_DATA

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WrongMessageType(MessageRefused):
    """A binary message came where JSON text was expected; closes with 1003."""

    code = CloseCode.UNSUPPORTED_DATA


class InvalidMessage(MessageRefused):
    """The text is no JSON, or JSON that the model refuses; closes with 1007."""


class WrongThread(StreamConductorError, RuntimeError):
    """The call belongs to the event loop's thread; only `publish_nowait` and `close` may come from others.

    Attributes:
        call: the name of what was called.
    """

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"{self.call} was called from a thread that is not the event loop's; "
            f"use loop.call_soon_threadsafe, or publish_nowait and close, which any thread may call"
        )


class ForkedProcess(StreamConductorError, RuntimeError):
    """Threads do not survive `fork`: what was created before it cannot be used in the child."""

    def __str__(self) -> str:
        return (
            "this process was forked after streamconductor had started; its threads stayed in the parent: "
            "create the server in the child, or use multiprocessing's spawn method"
        )


class UnsupportedEventLoop(StreamConductorError, RuntimeError):
    """The running event loop is not asyncio's or uvloop's.

    Attributes:
        found: what runs instead, `"none"` if nothing does.
    """

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return f"streamconductor needs a running asyncio or uvloop loop, found {self.found}; use asyncio.run"


class NotRunning(StreamConductorError, RuntimeError):
    """The call needs a server that runs.

    Attributes:
        call: the name of what was called.
        state: what the server is instead, such as `"not started"` or `"stopped"`.
    """

    def __init__(self, call: str, state: str = "not started") -> None:
        super().__init__(call, state)
        self.call, self.state = call, state

    def __str__(self) -> str:
        return (
            f"{self.call} needs a running server, and it is {self.state}; call it inside `async with server`"
        )


class BindError(StreamConductorError, OSError):
    """An address cannot be listened on. `errno`, `strerror` and `filename` (the address) are those of
    `OSError`.
    """

    def __init__(self, errno: int, strerror: str, address: str) -> None:
        super().__init__(errno, strerror, address)

    def __str__(self) -> str:
        # Neither ip:port nor the path of a Unix socket: a name that has no address.
        if not re.search(r"/|:\d+$", str(self.filename)):
            return (
                f"cannot listen on {self.filename}: {self.strerror}; set Config.host (or admin_host) to an address "
                "of this machine, or to a name that has one"
            )
        return (
            f"cannot listen on {self.filename}: {self.strerror}; choose another Config.port (0 takes a free "
            "one), or run one `streamconductor serve module:server` and publish to it over HTTP"
        )
