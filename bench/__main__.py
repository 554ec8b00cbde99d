"""Receives a command line · runs the comparison that it asks for · owns the options. `python -m bench --help`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench.comparison import Terms, compare
from bench.environments import ALL, OURS
from bench.load import Span
from bench.rows import ROWS, Row

FULL, QUICK = (9, Span(3.0, 1.0)), (3, Span(1.0, 0.3))


def main() -> int:
    """Compares this server with its peers on this machine."""
    options = _options()
    rounds, span = QUICK if options.quick else FULL
    terms = Terms(
        rounds=options.rounds or rounds,
        span=Span(
            options.seconds or span.seconds, span.warm_up if options.warm_up is None else options.warm_up
        ),
        results=options.json,
        is_quick=options.quick,
        is_gate=options.gate,
    )
    return compare(_chosen(options), terms)


def _options() -> argparse.Namespace:
    names = [row.slug for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="some rows, the peers of the goals, short")
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=f"which ({', '.join(names)})")
    parser.add_argument(
        "--peers", nargs="+", choices=list(ALL), metavar="PEER", help=f"which ({', '.join(ALL)})"
    )
    parser.add_argument("--of-the-goals", action="store_true", help="only those peers that the goals name")
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds ({FULL[0]}; quick: {QUICK[0]})")
    parser.add_argument(
        "--seconds", type=float, help=f"of a window ({FULL[1].seconds}; quick: {QUICK[1].seconds})"
    )
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
        return [
            replace(row, contenders=tuple(each for each in row.contenders if each.peer in wanted))
            for row in rows
        ]
    return [row.of_the_goals() for row in rows] if options.quick or options.of_the_goals else rows


if __name__ == "__main__":
    sys.exit(main())
