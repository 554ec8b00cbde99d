"""Receives what a test wants done to the bytes of a direction · hands the flows one checked set of faults · owns the
names, units and bounds of faults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypedDict

__all__ = ["DIRECTIONS", "Changes", "Direction", "Faults", "Scope", "directions_of"]

Direction = Literal["upstream", "downstream"]
"""From the client to the target, and back."""

Scope = Literal["all", "live", "new"]
"""The connections that an order is for: those there are, those to come, or both."""

DIRECTIONS: tuple[Direction, Direction] = ("upstream", "downstream")

_SCOPES = ("all", "live", "new")


class Changes(TypedDict, total=False):
    """The fields of `Faults` that are to change; the others stay as they are."""

    latency: float
    jitter: float
    bandwidth: float | None
    black_hole: bool
    slicing: int | None
    corruption: float
    corrupt_at: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """What is done to the bytes of one direction of a connection. The default does nothing.

    Attributes:
        latency: seconds that every byte is late.
        jitter: at most that many seconds more, drawn anew for every 1,460 bytes. Nothing overtakes: who is later
            holds up what follows.
        bandwidth: bytes a second; `None`: as fast as it goes. 0 is an outage that heals: nothing passes, the sender
            is held up, and all of it passes later.
        black_hole: bytes, FIN and RST are swallowed, and the sender hears nothing of it. A connection that was in a
            black hole is lost for good, because no network hands on a stream with a gap. New connections with both
            directions in a black hole are accepted and never reach the target.
        slicing: every write is cut into pieces of 1 to that many bytes; `None`: it is not.
        corruption: the probability, 0 to 1, that a byte has one of its bits flipped.
        corrupt_at: the bytes that have a bit flipped for certain, counted from 0 at the connection's first.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    black_hole: bool = False
    slicing: int | None = None
    corruption: float = 0.0
    corrupt_at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check("latency", self.latency, 0)
        _check("jitter", self.jitter, 0)
        _check("corruption", self.corruption, 0, 1)
        if self.bandwidth is not None:
            _check("bandwidth", self.bandwidth, 0)
        if self.slicing is not None:
            _check("slicing", self.slicing, 1)
        for offset in self.corrupt_at:
            _check("corrupt_at", offset, 0)


def _check(name: str, value: float, least: float, most: float = math.inf) -> None:
    if not (least <= value <= most and value < math.inf):
        bound = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r} must be a number {bound}")


def directions_of(direction: Direction | None) -> tuple[Direction, ...]:
    """The directions that an order is for; `None`: both.

    Raises:
        ValueError: there is no such direction.
    """
    if direction is None:
        return DIRECTIONS
    if direction not in DIRECTIONS:
        raise ValueError(f"direction={direction!r} must be one of {', '.join(DIRECTIONS)}, or None for both")
    return (direction,)


def check_scope(scope: Scope) -> None:
    """Raises ValueError: there is no such scope."""
    if scope not in _SCOPES:
        raise ValueError(f"scope={scope!r} must be one of {', '.join(_SCOPES)}")
