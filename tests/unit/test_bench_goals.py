"""Whether a goal holds is told rightly, and nobody who was not measured is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench import table
from bench.contenders import Contender
from bench.environments import ALL
from bench.goals import CPU, Goal, Verdict, at_most, bound, ratio, times
from bench.medians import lines, outcomes, summary
from bench.rows import ROWS, Row
from bench.smoke import GATES

ROW = Row(
    "work",
    "some",
    "fanout",
    (),
    tuple(Contender(name, name, "/") for name in ("streamconductor", "floor", "ws")),
    (at_most(1.1, "streamconductor", "floor", "≤ 1.1"), times(2, "streamconductor", "ws", "≥ 2 ×")),
)


def record(number: int, contender: str, cost: float) -> dict[str, Any]:
    return {"round": number, "row": "work", "contender": contender, "figures": {CPU: cost}}


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (at_most(1.0, "a", "b", ""), 1.04, Verdict.HOLDS),
        (at_most(1.0, "a", "b", ""), 1.06, Verdict.MISSED),
        (at_most(0.35, "a", "b", ""), 0.35 * 1.04, Verdict.HOLDS),
        (at_most(0.35, "a", "b", ""), 0.35 * 1.06, Verdict.MISSED),
        (times(12, "a", "b", ""), 12 * 0.96, Verdict.HOLDS),
        (times(12, "a", "b", ""), 12 * 0.94, Verdict.MISSED),
        # What is no ratio is not excused by the noise of the machine.
        (bound(2048, "a", "bytes", "", "bytes"), 2048, Verdict.HOLDS),
        (bound(2048, "a", "bytes", "", "bytes"), 2049, Verdict.MISSED),
        (bound(0, "a", "errors", "", "errors"), 0, Verdict.HOLDS),
        (bound(0, "a", "errors", "", "errors"), 1, Verdict.MISSED),
        (at_most(1.0, "a", "b", ""), None, Verdict.NOT_MEASURED),
    ],
)
def test_a_ratio_holds_within_five_in_a_hundred(goal: Goal, value: float | None, verdict: Verdict) -> None:
    assert goal.verdict(value) is verdict


def test_ratios_are_taken_within_a_round() -> None:
    # In each round we cost half; the machine is four times as fast in the second, and nobody's medians are comparable.
    costs = [(10.0, 20.0), (2.5, 5.0), (9.0, 18.0)]
    records = [
        record(number, contender, cost)
        for number, pair in enumerate(costs, 1)
        for contender, cost in zip(("streamconductor", "floor"), pair, strict=True)
        # Somebody failed in the first round.
        if (number, contender) != (1, "floor")
    ]
    ours = lines(ROW, records, {})[0]
    assert ours.figures[CPU] == 9.0
    assert (ours.ratio, ours.least, ours.most) == (0.5, 0.5, 0.5)
    assert ROW.goals[0].value([{"streamconductor": {CPU: 10.0}}]) is None
    [first, _] = outcomes(ROW, records, {})
    assert (first.value, first.rounds, first.verdict) == (0.5, 2, Verdict.HOLDS)


def test_a_median_of_nine_rounds_is_final_and_fewer_are_provisional() -> None:
    ratios = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 9.0]
    records = [
        made
        for number, value in enumerate(ratios, 1)
        for made in (record(number, "streamconductor", value), record(number, "floor", 1.0))
    ]
    [nine, _] = outcomes(ROW, records, {})
    assert (nine.value, nine.verdict, nine.note) == (1.4, Verdict.MISSED, "")
    [eight, _] = outcomes(ROW, records[:-2], {})
    assert "provisional: 8 of 9 rounds" in eight.note


def test_who_is_missing_or_failed_is_in_the_table_and_its_goals_are_not_measured() -> None:
    records = [
        record(1, "streamconductor", 1.0),
        {"round": 1, "row": "work", "contender": "floor", "error": "it fell over"},
    ]
    missing = {"ws": "npm is not installed"}
    text = table.row(ROW, records, missing)
    assert "| ws | missing: npm is not installed |" in text
    assert "| floor | missing: failed in 1 of 1 rounds: it fell over |" in text
    found = outcomes(ROW, records, missing)
    assert [outcome.verdict for outcome in found] == [Verdict.NOT_MEASURED] * 2
    assert found[1].note == "ws is missing: npm is not installed"
    goals = table.goals(found)
    assert goals.count("**not measured**") == 2
    assert "npm is not installed" in goals
    # One round of two is told, too.
    both = [*records, record(2, "floor", 1.0), record(2, "streamconductor", 1.0)]
    assert "!! floor: failed in 1 of 2 rounds: it fell over" in table.row(ROW, both, missing)


def test_growth_is_compared_with_growth() -> None:
    grown = ratio([("ours, 9", CPU), ("floor, 1", CPU)], [("ours, 1", CPU), ("floor, 9", CPU)])
    figures = {
        name: {CPU: value}
        for name, value in {"ours, 1": 2, "ours, 9": 3, "floor, 1": 1, "floor, 9": 1.25}.items()
    }
    assert grown(figures) == pytest.approx(1.2)
    assert grown({**figures, "floor, 1": {}}) is None


@pytest.mark.parametrize(
    "row", [*ROWS, *(replace(row, goals=GATES.get(row.name, ())) for row in ROWS)], ids=lambda row: row.slug
)
def test_rows_name_only_what_there_is(row: Row) -> None:
    names = [contender.name for contender in row.contenders]
    assert len(set(names)) == len(names)
    assert {contender.peer for contender in row.contenders} <= set(ALL)
    assert {name for goal in row.goals for name in goal.contenders} <= set(names)
    assert {row.figure, *row.shown} <= set(table.COLUMNS)
    assert set(GATES) <= {row.name for row in ROWS}


def test_a_summary_is_for_programs_and_has_every_goal() -> None:
    said = summary(ROWS, [], {"ws": "not there"})
    assert sum(len(row.goals) for row in ROWS) == len(said["goals"])
    assert {outcome["verdict"] for outcome in said["goals"]} == {Verdict.NOT_MEASURED}
