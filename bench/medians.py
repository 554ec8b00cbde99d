"""Receives the measurements of a run · hands out medians, ratios and verdicts · owns how rounds are combined.

Ratios are taken within a round, where the machine was most nearly the same, and their median is quoted.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.goals import ENOUGH_ROUNDS, Goal, Verdict
from bench.rows import Row

Record = Mapping[str, Any]
"""A measurement: `round`, `row`, `contender`, and `figures` or, where it failed, `error`."""

BASE = "floor"


@dataclass(frozen=True)
class Line:
    """A contender over all rounds of a row."""

    contender: str
    rounds: int
    """In which it was measured."""
    figures: dict[str, float]
    """Medians, by name."""
    ratio: float | None
    """Of the row's figure to the floor's, within rounds; None: there is no floor in this row, or it is missing."""
    least: float | None
    """The smallest of these ratios."""
    most: float | None
    """The largest."""
    missing: str | None
    """Why it was not measured, or not in every round."""


@dataclass(frozen=True)
class Outcome:
    """What became of a goal."""

    row: str
    words: str
    value: float | None
    unit: str
    rounds: int
    verdict: Verdict
    note: str
    """What to know of the verdict: a peer that is missing, too few rounds."""


def rounds_of(records: Iterable[Record], row: str) -> dict[int, dict[str, dict[str, float]]]:
    """By round and contender, the figures of a row."""
    rounds: dict[int, dict[str, dict[str, float]]] = {}
    for record in records:
        if record["row"] == row and "figures" in record:
            rounds.setdefault(record["round"], {})[record["contender"]] = record["figures"]
    return rounds


def lines(row: Row, records: Sequence[Record], missing: Mapping[str, str]) -> list[Line]:
    """A row's contenders, all of them, the missing ones too.

    Args:
        row: the row.
        records: all measurements of the run.
        missing: by peer, why it could not be started at all.
    """
    rounds = rounds_of(records, row.name)
    return [
        _line(row, contender.name, contender.peer, rounds, records, missing) for contender in row.contenders
    ]


def _line(
    row: Row,
    contender: str,
    peer: str,
    rounds: Mapping[int, Mapping[str, Mapping[str, float]]],
    records: Sequence[Record],
    missing: Mapping[str, str],
) -> Line:
    mine = [figures[contender] for figures in rounds.values() if contender in figures]
    names = {name for figures in mine for name in figures}
    medians = {
        name: statistics.median(figures[name] for figures in mine if name in figures)
        for name in sorted(names)
    }
    ratios = []
    for figures in rounds.values():
        over, under = (figures.get(name, {}).get(row.figure) for name in (contender, BASE))
        if over is not None and under:
            ratios.append(over / under)
    failures = [
        record["error"]
        for record in records
        if record["row"] == row.name and record["contender"] == contender and "error" in record
    ]
    reason = missing.get(peer)
    if failures:
        reason = f"failed in {len(failures)} of {len(failures) + len(mine)} rounds: {failures[-1]}"
    elif reason is None and not mine:
        reason = "not part of this run"
    return Line(
        contender,
        len(mine),
        medians,
        statistics.median(ratios) if ratios else None,
        min(ratios, default=None),
        max(ratios, default=None),
        reason,
    )


def outcomes(row: Row, records: Sequence[Record], missing: Mapping[str, str]) -> list[Outcome]:
    """A row's goals."""
    rounds = list(rounds_of(records, row.name).values())
    peers = {contender.name: contender.peer for contender in row.contenders}
    found = []
    for goal in row.goals:
        value = goal.value(rounds)
        counted = sum(goal.measure(figures) is not None for figures in rounds)
        note = ""
        if value is None:
            note = "; ".join(_why_not(goal, peers, missing)) or "no round has all of its figures"
        elif counted < ENOUGH_ROUNDS:
            note = f"provisional: {counted} of {ENOUGH_ROUNDS} rounds"
        found.append(Outcome(row.name, goal.words, value, goal.unit, counted, goal.verdict(value), note))
    return found


def _why_not(goal: Goal, peers: Mapping[str, str], missing: Mapping[str, str]) -> Iterator[str]:
    for name in goal.contenders:
        if name not in peers:
            yield f"{name} is not part of this run"
        elif peers[name] in missing:
            yield f"{name} is missing: {missing[peers[name]]}"


def summary(rows: Sequence[Row], records: Sequence[Record], missing: Mapping[str, str]) -> dict[str, Any]:
    """Everything that is said of a run, for programs."""
    return {
        "rows": {row.name: [asdict(line) for line in lines(row, records, missing)] for row in rows},
        "goals": [asdict(outcome) for row in rows for outcome in outcomes(row, records, missing)],
    }
