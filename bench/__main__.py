"""Receives a command line · runs the comparison, prints its tables and writes its results · owns what is asked of whom in
a run. `python -m bench --help`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import course, table
from bench.environments import ALL, OURS
from bench.goals import Verdict
from bench.machine import Cores, card, raise_file_limit
from bench.measuring import Span
from bench.medians import outcomes, summary
from bench.rows import ROWS, Row

FULL, QUICK = (9, Span(3.0, 1.0)), (3, Span(1.0, 0.3))


def main() -> int:
    """Compares this server with its peers on this machine."""
    options = _options()
    rows = _chosen(options)
    rounds, span = QUICK if options.quick else FULL
    rounds = options.rounds or rounds
    span = Span(options.seconds or span.seconds, span.warm_up if options.warm_up is None else options.warm_up)
    missing = {
        name: reason
        for name in sorted({contender.peer for row in rows for contender in row.contenders})
        if (reason := ALL[name].missing()) is not None
    }
    for name, reason in missing.items():
        print(f"!! MISSING: {name}: {reason}", file=sys.stderr)
    if OURS.name in missing:
        return 1

    raise_file_limit()
    cores = Cores.choose()
    run: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": card(cores),
        "versions": {name: ALL[name].versions() for name in ALL if _takes_part(name, rows) and name not in missing},
        "missing": missing,
        "settings": {
            "rounds": rounds,
            "seconds": span.seconds,
            "warm_up": span.warm_up,
            "quick": options.quick,
            "command": " ".join(["python -m bench", *sys.argv[1:]]),
            "rows": {row.name: [contender.name for contender in row.contenders] for row in rows},
        },
        "records": [],
    }
    try:
        for record in course.run(rows, rounds, span, cores, missing):
            run["records"].append(record)
            _write(options.json, run)
    except KeyboardInterrupt:
        print("stopped; this is what there is", file=sys.stderr)
    run["summary"] = summary(rows, run["records"], missing)
    _write(options.json, run)

    print(table.heading(run))
    for row in rows:
        print(table.row(row, run["records"], missing))
    found = [outcome for row in rows for outcome in outcomes(row, run["records"], missing)]
    print(table.goals(found))
    if any("error" in record and record["contender"].startswith(OURS.name) for record in run["records"]):
        return 1
    return 1 if options.gate and any(outcome.verdict is not Verdict.HOLDS for outcome in found) else 0


def _options() -> argparse.Namespace:
    names = [row.slug for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="some rows, the peers of the goals, short: no figures to quote")
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=f"which ({', '.join(names)})")
    parser.add_argument("--peers", nargs="+", choices=list(ALL), metavar="PEER", help=f"which ({', '.join(ALL)})")
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds ({FULL[0]}; quick: {QUICK[0]})")
    parser.add_argument("--seconds", type=float, help=f"of a window ({FULL[1].seconds}; quick: {QUICK[1].seconds})")
    parser.add_argument("--warm-up", type=float, help="seconds of load before it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every measurement there")
    parser.add_argument("--gate", action="store_true", help="exit status 1 unless all goals hold")
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> list[Row]:
    """The rows of this run, with the contenders of this run."""
    rows = [row for row in ROWS if row.slug in options.rows] if options.rows else list(ROWS)
    if options.quick and not options.rows:
        rows = [row for row in rows if row.quick]
    if options.peers:
        wanted = {OURS.name, *options.peers}
        return [replace(row, contenders=tuple(c for c in row.contenders if c.peer in wanted)) for row in rows]
    if options.quick:
        return [row.of_the_goals() for row in rows]
    return rows


def _takes_part(name: str, rows: Sequence[Row]) -> bool:
    return any(contender.peer == name for row in rows for contender in row.contenders)


def _write(path: Path | None, run: dict[str, Any]) -> None:
    """A line per measurement, so that two runs can be compared by `diff`."""
    if path is None:
        return
    text = json.dumps({**run, "records": "RECORDS"}, indent=1, ensure_ascii=False)
    records = ",\n  ".join(json.dumps(record, ensure_ascii=False) for record in run["records"])
    path.write_text(text.replace('"RECORDS"', f"[\n  {records}\n ]") + "\n")


if __name__ == "__main__":
    sys.exit(main())
