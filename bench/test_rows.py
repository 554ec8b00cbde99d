"""Receives the rows · hands pytest-benchmark each contender of each row · owns what is noted beside the times.

`pytest bench/ --benchmark-only` measures what is installed. What is timed is a fixed number of deliveries, round trips
or openings (see clock.py); `extra_info` has the rest. Benchmarks run one after the other here and not in interleaved
rounds: figures to quote come from `python -m bench`.
"""

from __future__ import annotations

from typing import Any

import pytest

from bench.clock import LoadClock, seconds_for
from bench.conftest import FIGURES
from bench.contenders import Contender
from bench.environments import ALL
from bench.load import Span
from bench.machine import Cores
from bench.measuring import measure
from bench.medians import BASE
from bench.rows import ROWS, Row

CLOCK = LoadClock()
NOTED = (
    "cpu_us_per_message",
    "p50_us",
    "p99_us",
    "rss_bytes",
    "bytes_per_connection",
    "server_load",
    "client_load",
)


def _cases() -> list[Any]:
    """The floor first, to which the others' ratios are taken."""
    return [
        pytest.param(
            row,
            contender,
            id=f"{row.slug}-{contender.name}",
            marks=pytest.mark.benchmark(group=row.name, timer=CLOCK),
        )
        for row in ROWS
        for contender in sorted(row.contenders, key=lambda contender: contender.name != BASE)
    ]


@pytest.mark.parametrize(("row", "contender"), _cases())
def test_row(row: Row, contender: Contender, span: Span, rounds: int, benchmark: Any) -> None:
    if (reason := ALL[contender.peer].missing()) is not None:
        pytest.skip(f"missing: {reason}")

    def once() -> dict[str, float]:
        figures = measure(row, contender, Cores.choose(), span)
        CLOCK.advance(seconds_for(row.timed, row.unit, figures))
        return figures

    figures = benchmark.pedantic(once, rounds=rounds, iterations=1)

    FIGURES[row.name, contender.name] = figures
    base = FIGURES.get((row.name, BASE), {}).get(row.figure)
    benchmark.extra_info |= {name: figures[name] for name in NOTED if name in figures}
    benchmark.extra_info |= {
        "peer": contender.peer,
        "versions": ALL[contender.peer].versions(),
        "timed": f"{row.unit:,} {row.timed}",
        "ratio_to_floor": figures[row.figure] / base if base and row.figure in figures else None,
    }
    assert figures["errors"] == 0
