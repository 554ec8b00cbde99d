"""Receives rows and how long to measure them · hands out tables, goals and a file of results · owns a run from its
first word to its exit status.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import course, table
from bench.environments import ALL, OURS
from bench.goals import Verdict
from bench.load import Span
from bench.machine import Cores, card, raise_file_limit
from bench.medians import outcomes, summary
from bench.rows import Row


@dataclass(frozen=True)
class Terms:
    """How a run is to be."""

    rounds: int
    span: Span
    results: Path | None
    """Where every measurement is written, as they come; None: nowhere."""
    is_quick: bool = False
    """Whether it is too short for figures to quote, which is said beside them."""
    is_gate: bool = False
    """Whether a goal that does not hold is a failure."""


def compare(rows: Sequence[Row], terms: Terms) -> int:
    """Measures, prints the tables and returns the exit status: 1 if this project could not be measured everywhere, or
    for a goal that does not hold where that is a failure.
    """
    peers = sorted({contender.peer for row in rows for contender in row.contenders})
    missing = {name: reason for name in peers if (reason := ALL[name].missing()) is not None}
    for name, reason in missing.items():
        print(f"!! MISSING: {name}: {reason}", file=sys.stderr)
    if OURS.name in missing:
        return 1
    raise_file_limit()
    cores = Cores.choose()
    run: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": card(cores),
        "versions": {name: ALL[name].versions() for name in peers if name not in missing},
        "missing": missing,
        "settings": {
            "rounds": terms.rounds,
            "seconds": terms.span.seconds,
            "warm_up": terms.span.warm_up,
            "quick": terms.is_quick,
            "command": " ".join(["python -m bench", *sys.argv[1:]]),
            "rows": {row.name: [contender.name for contender in row.contenders] for row in rows},
        },
        "records": [],
    }
    try:
        for record in course.run(rows, terms.rounds, terms.span, cores, missing):
            run["records"].append(record)
            write(terms.results, run)
    except KeyboardInterrupt:
        print("stopped; this is what there is", file=sys.stderr)
    run["summary"] = summary(rows, run["records"], missing)
    write(terms.results, run)

    print(table.heading(run))
    for row in rows:
        print(table.row(row, run["records"], missing))
    found = [outcome for row in rows for outcome in outcomes(row, run["records"], missing)]
    print(table.goals(found))
    failed = any("error" in record and record["contender"].startswith(OURS.name) for record in run["records"])
    missed = any(outcome.verdict is not Verdict.HOLDS for outcome in found)
    return int(failed or not run["records"] or (terms.is_gate and missed))


def write(path: Path | None, run: dict[str, Any]) -> None:
    """A line per measurement, so that two runs can be compared by `diff`; never half a file."""
    if path is None:
        return
    text = json.dumps({**run, "records": "RECORDS", "summary": "SUMMARY"}, indent=1, ensure_ascii=False)
    records = ",\n  ".join(json.dumps(record, ensure_ascii=False) for record in run["records"])
    combined = json.dumps(run.get("summary"), ensure_ascii=False)
    text = text.replace('"RECORDS"', f"[\n  {records}\n ]").replace('"SUMMARY"', combined)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(text + "\n")
    beside.replace(path)
