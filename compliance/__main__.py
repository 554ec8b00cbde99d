"""Receives what to play from the command line · prints tables and differences, and exits with 1 where there are any ·
owns the order of things: several groups of cases at once, and whatever went otherwise once more, alone.
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from . import roles
from .results import Result, Results, accept, differences, order
from .suite import ROOT, Suite, Unobtainable, obtain
from .table import table

FOLDER = ROOT / "target" / "conformance"

# Each is played by a fuzzing peer of its own. The longest first, so that none begins when all others have ended.
GROUPS = (("13",), ("12",), ("9",), ("1", "2", "3", "4", "5", "7", "10"), ("6",))

MOST_AGAIN = 50
"""More cases than chance lets fail."""

Play = Callable[[Sequence[str], Path], Awaitable[Results]]


def main() -> int:
    """Plays, compares, tells."""
    arguments = _arguments()
    try:
        suite = obtain()
    except Unobtainable as error:
        return _skipped(error)
    cases = [
        case
        for case in sorted(roles.all_cases(suite), key=order)
        if any(fnmatch.fnmatchcase(case, pattern) for pattern in arguments.cases)
    ]
    if not cases:
        print(f"no case matches {' '.join(arguments.cases)}", file=sys.stderr)
        return 2
    shutil.rmtree(FOLDER, ignore_errors=True)
    started = time.monotonic()
    found = asyncio.run(_play(suite, arguments.load, arguments.roles, cases))
    seconds = time.monotonic() - started
    return _report(found, cases, seconds, is_accepting=arguments.accept)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compliance", description=__doc__)
    parser.add_argument("cases", nargs="*", default=["*"], help="such as 9.* or 6.4.3; all")
    parser.add_argument("--role", dest="roles", action="append", choices=["server", "client"])
    parser.add_argument("--load", type=Path, required=True, metavar="PATH", help="streamconductor-load")
    parser.add_argument("--accept", action="store_true", help="what is found is expected from now on")
    found = parser.parse_args()
    found.roles = found.roles or ["server", "client"]
    if found.accept and found.cases != ["*"]:
        parser.error("only results of all cases can be accepted")
    return found


async def _play(suite: Suite, load: Path, names: Sequence[str], cases: Sequence[str]) -> dict[str, Results]:
    async with roles.server() as port:
        plays: dict[str, Play] = {
            "server": lambda some, folder: roles.play_server(suite, port, some, folder),
            "client": lambda some, folder: roles.play_client(suite, load, some, folder),
        }
        room = asyncio.Semaphore(max(2, os.cpu_count() or 2))
        tasks: list[tuple[str, asyncio.Task[Results]]] = []
        async with asyncio.TaskGroup() as group:
            for number, some in enumerate(roles.in_groups(cases, GROUPS)):
                for name in names:
                    work = _with_room(room, plays[name], some, FOLDER / f"{name}-{number}")
                    tasks.append((name, group.create_task(work)))
        found: dict[str, dict[str, Result]] = {name: {} for name in names}
        for name, task in tasks:
            found[name] |= task.result()
        for name in names:
            # The suite's deadlines measure the machine, too: a second in which a peer gets no turn fails a case that
            # is in order. What fails alone, on an idle machine, does so for a reason.
            again = [one.case for one in differences(name, found[name], cases)]
            if 0 < len(again) <= MOST_AGAIN:
                print(f"== {name}: once more, alone: {' '.join(again)}", flush=True)
                found[name] |= await _with_room(room, plays[name], again, FOLDER / f"{name}-again")
    return dict(found)


async def _with_room(room: asyncio.Semaphore, play: Play, cases: Sequence[str], folder: Path) -> Results:
    async with room:
        started = time.monotonic()
        results = await play(cases, folder)
        print(f"== {folder.name}: {len(results)} cases in {time.monotonic() - started:.0f} s", flush=True)
        return results


def _report(found: dict[str, Results], cases: Sequence[str], seconds: float, *, is_accepting: bool) -> int:
    written = {
        role: {case: results[case]._asdict() for case in sorted(results, key=order)}
        for role, results in found.items()
    }
    (FOLDER / "results.json").write_text(json.dumps({"seconds": seconds, **written}, indent=1) + "\n")
    count = 0
    for role, results in found.items():
        print(f"\n{table(role, results)}")
        for difference in differences(role, results, cases):
            print(f"  {difference}")
            count += 1
        if is_accepting:
            accept(role, results)
    print(
        f"\n{sum(map(len, found.values()))} cases in {seconds:.0f} s; reports in {FOLDER.relative_to(ROOT)}"
    )
    if count and not is_accepting:
        print(
            f"{count} results differ from compliance/expected; where the new ones are right: "
            "make conformance ACCEPT=1",
            file=sys.stderr,
        )
        return 1
    return 0


def _skipped(error: Unobtainable) -> int:
    """Says so where nobody can miss it; with REQUIRE=1 it is a failure."""
    line = "!" * 100
    print(
        f"{line}\nSKIPPED: Autobahn|Testsuite cannot be had here, so NO CASE OF IT WAS PLAYED\n{error}\n{line}",
        file=sys.stderr,
    )
    return 1 if os.environ.get("REQUIRE") else 0


if __name__ == "__main__":
    sys.exit(main())
