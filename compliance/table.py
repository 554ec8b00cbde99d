"""Receives the results of a role · hands out a table by section, as text · owns its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .results import Result, Results, order

SECTIONS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits and performance",
    "10": "automatic fragmentation",
    "12": "compression, payloads",
    "13": "compression, parameters",
}
COLUMNS = ("cases", "OK", "non-strict", "informational", "unimplemented", "failed")
HEADINGS = ("section", *COLUMNS)


def table(role: str, results: Results) -> str:
    """One line for each section, and the sum."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for section in sorted({case.partition(".")[0] for case in results}, key=order):
        inside = [result for case, result in results.items() if case.partition(".")[0] == section]
        rows.append((f"{section} {SECTIONS.get(section, '')}", *_counted(inside)))
    rows.append(("all", *_counted(results.values())))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(
            word.rjust(width) if column else word.ljust(width) for column, (word, width) in enumerate(pairs)
        )
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, lines[1])
    return "\n".join([f"the {role}'s role", "", *lines])


def _counted(results: Iterable[Result]) -> tuple[str, ...]:
    found = list(results)
    behaviors = Counter("failed" if one.is_failed else one.behavior for one in found)
    counts = [
        len(found),
        *(behaviors[name] for name in ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")),
    ]
    return tuple(str(count) for count in [*counts, behaviors["failed"]])
