"""Receives the figures of a round, or of all rounds · hands out whether a goal holds · owns what "holds" means.

A goal is a quotient of figures taken in one round, or a figure alone. Its value is the median over the rounds in which
all of its figures were taken. A ratio holds within five in a hundred of its limit, which is what a quiet machine
repeats; a bound in absolute terms has no such room.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

ROOM = 0.05
ENOUGH_ROUNDS = 9
"""With fewer a verdict is provisional."""

CPU = "cpu_us_per_message"

Quantity = tuple[str, str]
"""A contender and the name of one of its figures."""

Figures = Mapping[str, Mapping[str, float | None]]
"""Of one round of one row: contender, name of the figure, value."""


class Verdict(StrEnum):
    """What became of a goal."""

    HOLDS = "holds"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


Measure = Callable[[Figures], float | None]
"""From a round's figures the value that a goal is about; None: one of them was not taken."""


@dataclass(frozen=True)
class Goal:
    """What a row should show."""

    words: str
    """As it stands in the table, with its limit."""
    measure: Measure
    limit: float
    at_least: bool = False
    """Whether the value must reach the limit; else it must not pass it."""
    unit: str = ""
    """Of a bound in absolute terms; empty: the value is a ratio."""
    contenders: tuple[str, ...] = ()
    """Whose figures it needs."""

    def value(self, rounds: Sequence[Figures]) -> float | None:
        """The median over the rounds; None: no round has all of its figures."""
        values = [value for figures in rounds if (value := self.measure(figures)) is not None]
        return statistics.median(values) if values else None

    def verdict(self, value: float | None) -> Verdict:
        """What a value means."""
        if value is None:
            return Verdict.NOT_MEASURED
        room = 0.0 if self.unit else ROOM
        reached = value >= self.limit * (1 - room) if self.at_least else value <= self.limit * (1 + room)
        return Verdict.HOLDS if reached else Verdict.MISSED


def ratio(over: Sequence[Quantity], under: Sequence[Quantity]) -> Measure:
    """The product of some figures over that of others."""

    def measure(figures: Figures) -> float | None:
        above, below = ([_of(figures, quantity) for quantity in side] for side in (over, under))
        if None in above or None in below or 0 in below:
            return None
        return math.prod(_numbers(above)) / math.prod(_numbers(below))

    return measure


def at_most(limit: float, ours: str, theirs: str, words: str, name: str = CPU) -> Goal:
    """Our figure is at most so many times theirs."""
    return Goal(words, ratio([(ours, name)], [(theirs, name)]), limit, contenders=(ours, theirs))


def times(factor: float, ours: str, theirs: str, words: str) -> Goal:
    """A second of our server's processor time brings at least so many times as many messages as one of theirs."""
    measure = ratio([(theirs, CPU)], [(ours, CPU)])
    return Goal(words, measure, factor, at_least=True, contenders=(ours, theirs))


def bound(limit: float, ours: str, name: str, words: str, unit: str, per: float = 1.0) -> Goal:
    """Our figure is at most that, whatever others do; `per`: so much of the figure is one of the unit."""

    def measure(figures: Figures) -> float | None:
        value = _of(figures, (ours, name))
        return None if value is None else value / per

    return Goal(words, measure, limit, unit=unit, contenders=(ours,))


def _of(figures: Figures, quantity: Quantity) -> float | None:
    contender, name = quantity
    return figures.get(contender, {}).get(name)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
