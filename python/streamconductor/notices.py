"""Receives facts from the native half · hands them to the application's functions as plain objects · owns what a
connection's state, its pressure and its end are called.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

__all__ = ["Backpressure", "Closed", "State"]


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
