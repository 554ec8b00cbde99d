"""Receives the measurements of a run · hands out tables for people, as Markdown · owns how figures are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.goals import CPU
from bench.medians import Line, Outcome, Record, lines
from bench.rows import Row

NONE = "\N{EN DASH}"

# By the name of a figure: its column, what it is multiplied by, digits behind the point.
COLUMNS = {
    CPU: ("CPU µs per message", 1.0, 3),
    "messages_per_second": ("messages/s", 1.0, 0),
    "p50_us": ("p50 ms", 1e-3, 2),
    "p99_us": ("p99 ms", 1e-3, 2),
    "server_load": ("load of server", 1.0, 3),
    "client_load": ("load of client", 1.0, 2),
    "bytes_per_connection": ("KiB per connection", 1 / 1024, 2),
    "kernel_bytes_per_connection": ("kernel buffers, KiB per connection", 1 / 1024, 2),
    "rss_bytes": ("RSS MiB", 1 / (1 << 20), 1),
    "server_kernel_bytes": ("kernel MiB, the server's sockets", 1 / (1 << 20), 1),
    "kernel_socket_bytes": ("kernel MiB, both ends", 1 / (1 << 20), 1),
    "slow.ended": ("stalled that the server ended", 1.0, 0),
    "server_pings.received": ("pings", 1.0, 0),
    "server_pings.p50_us": ("between two, p50 ms", 1e-3, 0),
    "server_pings.p99_us": ("between two, p99 ms", 1e-3, 0),
    "errors": ("errors", 1.0, 0),
}


def heading(run: Mapping[str, Any]) -> str:
    """The machine's card, the versions and the settings."""
    settings = run["settings"]
    words = [
        ", ".join(f"{name} {value}" for name, value in run["machine"].items()),
        "; ".join(
            f"{peer}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
            for peer, versions in run["versions"].items()
        ),
        f"{settings['rounds']} rounds, windows of {settings['seconds']:g} s behind {settings['warm_up']:g} s",
    ]
    if settings["quick"]:
        words.append("QUICK: fewer rows, peers, rounds and seconds than figures to quote need.")
    words += [f"!! MISSING: {peer}: {reason}" for peer, reason in run["missing"].items()]
    return "\n".join(words) + "\n"


def row(row: Row, records: Sequence[Record], missing: Mapping[str, str]) -> str:
    """One row: its contenders, the cheapest first, and who is missing."""
    found = lines(row, records, missing)
    head = ["server", *(COLUMNS[name][0] for name in row.shown)]
    has_ratio = row.figure == CPU and any(line.ratio is not None for line in found)
    if has_ratio:
        head.append("ratio to the floor (least\N{EN DASH}most)")
    text = [f"### {row.name}", "", f"{row.words}.", ""]
    text += [_cells(head), _cells(["---", *["---:"] * (len(head) - 1)])]
    cheapest_first = sorted(found, key=lambda line: line.figures.get(row.figure, float("inf")))
    text += [_cells(_line(line, row.shown, has_ratio)) for line in cheapest_first]
    text += [
        "",
        *(f"!! {line.contender}: {line.missing}" for line in found if line.missing and line.rounds),
        "",
    ]
    return "\n".join(text)


def goals(outcomes: Sequence[Outcome]) -> str:
    """The goals: what was wanted, what was measured, what becomes of it."""
    text = [
        "### Goals",
        "",
        _cells(["work", "goal", "measured", "verdict"]),
        _cells(["---", "---", "---:", "---"]),
    ]
    for outcome in outcomes:
        value = NONE if outcome.value is None else f"{outcome.value:.3g} {outcome.unit}".strip()
        verdict = f"**{outcome.verdict}**" + (f" ({outcome.note})" if outcome.note else "")
        text.append(_cells([outcome.row, outcome.words, value, verdict]))
    return "\n".join([*text, ""])


def _line(line: Line, shown: Sequence[str], has_ratio: bool) -> list[str]:
    if not line.rounds:
        return [line.contender, f"missing: {line.missing}", *[NONE] * (len(shown) - 1 + has_ratio)]
    cells = []
    for name in shown:
        _, factor, digits = COLUMNS[name]
        cells.append(f"{line.figures[name] * factor:,.{digits}f}" if name in line.figures else NONE)
    if has_ratio:
        ratio = (
            NONE if line.ratio is None else f"{line.ratio:.2f} ({line.least:.2f}\N{EN DASH}{line.most:.2f})"
        )
        cells.append(ratio)
    return [line.contender, *cells]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
