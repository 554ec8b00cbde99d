"""Receives rows and a number of rounds · hands out a record per measurement · owns their order, and the word on how far
it is.

A round is every row once, a row every contender once, one after the other: A B C, A B C. Each has a server of its own,
so that none is the idle neighbour of another.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.contenders import Contender
from bench.load import LoadError, Span
from bench.machine import Cores
from bench.measuring import measure
from bench.rows import Row
from bench.serving import ServerError

OVERHEAD = 2.5
"""Seconds that a measurement takes beside warm-up and window, until the first rounds tell."""


def run(
    rows: Sequence[Row],
    rounds: int,
    span: Span,
    cores: Cores,
    missing: Mapping[str, str],
    say: Callable[[str], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Measures; a record comes as soon as it is there.

    Args:
        rows: what.
        rounds: how often.
        span: how long each.
        cores: where.
        missing: peers that are passed over, with the reason.
        say: takes a line for people per measurement; None: it goes to standard error.
    """
    say = say or (lambda line: print(line, file=sys.stderr, flush=True))
    work = [(row, contender) for row in rows for contender in row.contenders if contender.peer not in missing]
    estimates = _Estimates(work, rounds, span)
    say(f"{rounds} rounds of {len(work)} measurements, about {_duration(estimates.remaining())}")
    done = 0
    for number in range(1, rounds + 1):
        for row, contender in work:
            began = time.monotonic()
            record: dict[str, Any] = {"round": number, "row": row.name, "contender": contender.name}
            try:
                record["figures"] = measure(row, contender, cores, span)
            except (LoadError, ServerError) as error:
                record["error"] = str(error)
            estimates.took(row, contender, time.monotonic() - began)
            done += 1
            say(
                f"[{number}/{rounds}] {row.name:<22} {contender.name:<28} {_result(row, record)}"
                f"   {done}/{rounds * len(work)}, {_duration(estimates.remaining())} left"
            )
            yield record


class _Estimates:
    """How long the rest will take: what each measurement took last, or what it should."""

    def __init__(self, work: Sequence[tuple[Row, Contender]], rounds: int, span: Span) -> None:
        self._left = {self._key(*each): rounds for each in work}
        self._took = {
            self._key(row, contender): (row.seconds or span.seconds)
            + max(row.warm_up, span.warm_up)
            + OVERHEAD
            for row, contender in work
        }

    @staticmethod
    def _key(row: Row, contender: Contender) -> tuple[str, str]:
        return row.name, contender.name

    def took(self, row: Row, contender: Contender, seconds: float) -> None:
        key = self._key(row, contender)
        self._took[key] = seconds
        self._left[key] -= 1

    def remaining(self) -> float:
        return sum(self._took[key] * left for key, left in self._left.items())


def _result(row: Row, record: Mapping[str, Any]) -> str:
    if "error" in record:
        return f"!! FAILED: {record['error']}"
    value = record["figures"].get(row.figure)
    return "        \N{EN DASH}" if value is None else f"{value:>9.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
