"""Receives the results of a run, as `python -m bench --json` wrote them · hands out a page with tables and plots · owns
the page's words; every figure in it comes from the file.

`python -m bench.render results.json` writes docs/benchmarks.md and the plots beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import plots, table
from bench.environments import HERE
from bench.goals import ENOUGH_ROUNDS
from bench.medians import lines, outcomes
from bench.rows import ROWS

DOCS = HERE.parent / "docs"
PLOTS = "benchmarks"


def main() -> int:
    """Renders the results of a run to a page."""
    parser = argparse.ArgumentParser(prog="python -m bench.render", description=main.__doc__)
    parser.add_argument("results", type=Path, help="what `python -m bench --json` wrote")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the directory of the page (docs)")
    options = parser.parse_args()
    run = json.loads(options.results.read_text())
    page, figures = render(run)
    place = options.docs / PLOTS
    place.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (place / name).write_text(figure)
    (options.docs / "benchmarks.md").write_text(page)
    print(f"{options.docs / 'benchmarks.md'}, {len(figures)} plots in {place}")
    return 0


def render(run: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """A page, and by name the plots that it shows.

    Args:
        run: the results.
    """
    rows = [row for row in ROWS if row.name in run["settings"]["rows"]]
    records, missing = run["records"], run["missing"]
    found = [outcome for row in rows for outcome in outcomes(row, records, missing)]
    parts = [_opening(run), table.goals(found)]
    figures: dict[str, str] = {}
    for row in rows:
        parts.append(table.row(row, records, missing))
        if (plot := plots.bars(row, lines(row, records, missing))) is not None:
            figures[f"{row.slug}.svg"] = plot
            parts.append(f"![{row.name}: {plots.axis(row)}]({PLOTS}/{row.slug}.svg)\n")
    if others := [row.name for row in ROWS if row not in rows]:
        parts.append(f"Rows that were not part of this run: {'; '.join(others)}.\n")
    return "\n".join(parts), figures


def _opening(run: Mapping[str, Any]) -> str:
    settings = run["settings"]
    card = [f"* {name}: {value}" for name, value in run["machine"].items()]
    card += [
        f"* {peer}: {', '.join(f'{name} {version}' for name, version in versions.items())}"
        for peer, versions in run["versions"].items()
    ]
    card += [f"* **missing: {peer}**: {reason}" for peer, reason in run["missing"].items()]
    text = [
        "# Benchmarks",
        "",
        f"Measured on {run['date']} by `{settings['command']}`, rendered by `python -m bench.render`; nothing here is "
        "written by hand. How it is measured, and whom that favours, is in [bench/README.md](../bench/README.md).",
        "",
        "Only ratios count: machines differ, and one differs from minute to minute. "
        f"{settings['rounds']} interleaved rounds, windows of {settings['seconds']:g} s behind "
        f"{settings['warm_up']:g} s of warm-up unless a row says otherwise, medians; ratios are taken within a round. "
        "CPU is user and system time of all processes of the server.",
        "",
    ]
    if settings["quick"] or settings["rounds"] < ENOUGH_ROUNDS:
        text += [
            f"**Provisional**: {'a quick run with fewer rows and peers' if settings['quick'] else 'a run'} of "
            f"{settings['rounds']} rounds; figures to quote need {ENOUGH_ROUNDS}.",
            "",
        ]
    return "\n".join([*text, *card, ""])


if __name__ == "__main__":
    sys.exit(main())
