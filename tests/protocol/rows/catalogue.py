"""Receives the rows of every module here · hands out all of them, and their cases in the order in which they share
servers · owns that none is forgotten.
"""

from __future__ import annotations

from tests.protocol.rows import (
    admission,
    compression,
    endings,
    floods,
    forged_tokens,
    frames,
    handshakes,
    readers,
    requests,
    transport,
)
from tests.protocol.rows.registry import ROWS, Case, Row

__all__ = ["CASES", "all_rows"]

MODULES = (
    requests,
    handshakes,
    admission,
    forged_tokens,
    transport,
    frames,
    endings,
    floods,
    readers,
    compression,
)


def all_rows() -> list[Row]:
    """H before F, by number."""
    return sorted(ROWS.values(), key=lambda row: (row.name[0] != "H", int(row.name[1:])))


def _cases() -> list[Case]:
    cases = [case for row in all_rows() for case in row.cases]
    order: dict[str, int] = {}
    for case in cases:
        order.setdefault(case.profile.name, len(order))
    return sorted(cases, key=lambda case: order[case.profile.name])


CASES = _cases()
