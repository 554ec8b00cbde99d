"""Receives what a proxy did · hands it to whoever looks for the cause of a failure, as text and as JSON · owns the
counters and the log, which is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .faults import Direction

__all__ = ["Counters", "Log", "LogEntry"]


@dataclass(slots=True)
class Counters:
    """What a proxy has counted since it was made.

    Attributes:
        connections: accepted from clients.
        open: of these, not over yet.
        unreachable: of these, reset because the target took no connection.
        upstream: bytes handed to the target.
        downstream: bytes handed to clients.
        swallowed: bytes taken from a sender that nobody got.
        corrupted: bits flipped.
        resets: connections reset by order.
        orders: faults set, resets, half-closes, refusals and restorations, by hand and by script.
    """

    connections: int = 0
    open: int = 0
    unreachable: int = 0
    upstream: int = 0
    downstream: int = 0
    swallowed: int = 0
    corrupted: int = 0
    resets: int = 0
    orders: int = 0


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Something that a proxy did.

    Attributes:
        at: seconds since the proxy was made.
        what: in words.
        connection: its number, from 1 in the order of arrival; `None`: the whole proxy.
        direction: whose bytes; `None`: no bytes, or both.
        offset: the byte in that direction; `None`: no particular one.
    """

    at: float
    what: str
    connection: int | None = None
    direction: Direction | None = None
    offset: int | None = None

    def __str__(self) -> str:
        place = [f"#{self.connection}" if self.connection else "", self.direction or ""]
        place.append(f"byte {self.offset}" if self.offset is not None else "")
        return " ".join([f"{self.at:9.3f} s", *filter(None, place), self.what])


@dataclass(slots=True)
class Log:
    """What a proxy did, in order; iterate over it, or print it. After 10,000 entries it only counts.

    Attributes:
        entries: the first 10,000.
        left_out: how many came later.
    """

    entries: list[LogEntry] = field(default_factory=list)
    left_out: int = 0
    _began: float = field(default_factory=time.monotonic)

    _MOST = 10_000

    def add(
        self,
        what: str,
        connection: int | None = None,
        direction: Direction | None = None,
        offset: int | None = None,
    ) -> None:
        """Notes something that happens now; the parameters are the fields of `LogEntry`."""
        if len(self.entries) < self._MOST:
            self.entries.append(LogEntry(time.monotonic() - self._began, what, connection, direction, offset))
        else:
            self.left_out += 1

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        rest = [f"and {self.left_out:,} more"] if self.left_out else []
        return "\n".join([*map(str, self.entries), *rest])

    def as_list(self) -> list[dict[str, Any]]:
        """The entries as JSON can hold them."""
        return [asdict(entry) for entry in self.entries]
