"""Receives nothing · hands out whether this server still beats `websockets` by far · owns the gates of a short run,
which are wide enough for a crowded machine. `python -m bench.smoke`.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from bench.comparison import Terms, compare
from bench.environments import OURS
from bench.goals import Goal, at_most, times
from bench.load import Span
from bench.rows import ROWS

TERMS = Terms(rounds=3, span=Span(1.0, 0.3), results=None, is_quick=True, is_gate=True)

GATES: dict[str, tuple[Goal, ...]] = {
    "fan-out, sparse": (),
    "fan-out, saturated": (times(8, OURS.name, "websockets", "≥ 8 × the deliveries of websockets"),),
    "echo": tuple(
        at_most(0.5, f"{OURS.name}, {form}", "websockets", f"{form} ≤ 0.5 × websockets")
        for form in ("async for", "callback")
    ),
}


def main() -> int:
    """A minute with one peer."""
    rows = [
        replace(
            row,
            contenders=tuple(each for each in row.contenders if each.peer in {OURS.name, "websockets"}),
            goals=GATES[row.name],
        )
        for row in ROWS
        if row.name in GATES
    ]
    return compare(rows, TERMS)


if __name__ == "__main__":
    sys.exit(main())
