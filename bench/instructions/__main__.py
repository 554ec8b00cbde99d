"""Receives the program with the workloads and the baseline · prints a table, and exits with 1 where a count is not the
one that is checked in · owns the words in which that is told.

How to read the counts, and what makes them repeat: docs/performance.md, "Instruction counts".
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from .baseline import (
    BASELINE,
    TOLERANCE,
    Baseline,
    Row,
    Toolchain,
    Verdict,
    compare,
    has_same_library,
    is_comparable,
)
from .callgrind import Failed, Unobtainable, Workload, counts, find_valgrind, workloads

ACCEPTING = "make bench-instructions ACCEPT=1"


def main() -> int:
    """Counts, compares, tells."""
    arguments = _arguments()
    baseline = Baseline.read(arguments.baseline) if arguments.baseline.exists() else None
    try:
        now, known = _counted(arguments) if arguments.program else (Baseline.read(arguments.counts), {})
    except Unobtainable as error:
        return _skipped("nothing was counted", str(error))
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        now.write(arguments.json)
    if arguments.accept:
        now.write(arguments.baseline)
    if baseline is None:
        if not arguments.accept:
            print(f"there is no {arguments.baseline}: {ACCEPTING}", file=sys.stderr)
        return 0 if arguments.accept else 1
    if not is_comparable(baseline.toolchain, now.toolchain):
        machines = f"the baseline is of {baseline.toolchain.machine}, this is {now.toolchain.machine}"
        return 0 if arguments.accept else _skipped("no count was compared", machines)
    rows = [row for row in compare(baseline, now) if _is_meant(row.name, arguments.workloads)]
    print(table(rows, known))
    for line in _notes(baseline.toolchain, now.toolchain):
        print(line)
    return 0 if arguments.accept else _judged(rows)


def table(rows: list[Row], known: Mapping[str, Workload]) -> str:
    """Each workload with its counts; those that fail are marked."""
    lines = [f"{'workload':<24} {'baseline':>12} {'now':>12} {'difference':>11} {'each of its':>12}"]
    for row in rows:
        before = "-" if row.before is None else f"{row.before:,}"
        now = "-" if row.now is None else f"{row.now:,}"
        difference = f"{row.difference:+.2%}" if row.before and row.now else "-"
        workload = known.get(row.name)
        each = f"{row.now / workload.units:>12,.1f} {workload.unit}" if row.now and workload else f"{'-':>12}"
        mark = "" if row.verdict is Verdict.SAME else f"   <-- {row.verdict.value}"
        lines.append(f"{row.name:<24} {before:>12} {now:>12} {difference:>11} {each}{mark}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=["*"], help="such as codec/* or ring/chunk; all")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--program", type=Path, metavar="PATH", help="streamconductor-workload, to be counted"
    )
    source.add_argument("--counts", type=Path, metavar="PATH", help="counts that --json has written")
    parser.add_argument(
        "--baseline", type=Path, default=BASELINE, metavar="PATH", help="what to compare with"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the counts there, too")
    parser.add_argument(
        "--profiles", type=Path, metavar="PATH", help="leave callgrind's files in this folder"
    )
    parser.add_argument("--accept", action="store_true", help="what is counted is expected from now on")
    found = parser.parse_args()
    if found.accept and found.workloads != ["*"]:
        parser.error("only counts of all workloads can be accepted")
    return found


def _counted(arguments: argparse.Namespace) -> tuple[Baseline, dict[str, Workload]]:
    toolchain = Toolchain.here(find_valgrind())
    known = {one.name: one for one in workloads(arguments.program)}
    names = [name for name in known if _is_meant(name, arguments.workloads)]
    started = time.monotonic()
    found = {}
    for name, count in counts(arguments.program, names, arguments.profiles):
        found[name] = count
        if sys.stderr.isatty():
            print(f"\r\x1b[K{len(found)} of {len(names)}: {name}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    print(f"{len(found)} workloads counted in {time.monotonic() - started:.0f} s")
    return Baseline(toolchain, found), known


def _is_meant(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _notes(before: Toolchain, now: Toolchain) -> list[str]:
    notes = []
    if not has_same_library(before, now):
        notes.append(
            f"note: the baseline was taken with {before.library}, this is {now.library}: the C library's own "
            "instructions are not compared"
        )
    for what in ("rustc", "valgrind"):
        then, here = getattr(before, what), getattr(now, what)
        if then != here:
            notes.append(f"note: the baseline was taken with {then}, this is {here}")
    return notes


def _judged(rows: list[Row]) -> int:
    """1 where anything is not as it was, with what to do about it."""
    found = {verdict: [row for row in rows if row.verdict is verdict] for verdict in Verdict}
    if len(found[Verdict.SAME]) == len(rows):
        print(f"all {len(rows)} within {TOLERANCE} % of the baseline")
        return 0
    if worse := found[Verdict.WORSE]:
        names = ", ".join(row.name for row in worse)
        print(
            f"{len(worse)} beyond {TOLERANCE} %: {names}. If that is the price of something: {ACCEPTING}",
            file=sys.stderr,
        )
    if better := found[Verdict.BETTER]:
        names = ", ".join(row.name for row in better)
        print(
            f"{len(better)} better by more than {TOLERANCE} %: {names}. To keep the gain: {ACCEPTING}",
            file=sys.stderr,
        )
    if others := [*found[Verdict.NEW], *found[Verdict.MISSING]]:
        names = ", ".join(row.name for row in others)
        print(f"{len(others)} on one side only: {names}. If that is meant: {ACCEPTING}", file=sys.stderr)
    return 1


def _skipped(what: str, reason: str) -> int:
    """Says so where nobody can miss it; with REQUIRE=1 it is a failure."""
    line = "!" * 100
    print(f"{line}\nSKIPPED: {what.upper()}: {reason}\n{line}", file=sys.stderr)
    return 1 if os.environ.get("REQUIRE") else 0


if __name__ == "__main__":
    sys.exit(main())
