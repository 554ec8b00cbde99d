"""Receives origins as a setting or a route lists them · says what is wrong with one, in the native half's words · owns
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._core import origin_problem

__all__ = ["check_origins"]


def check_origins(origins: Sequence[str] | str | None) -> None:
    """Raises ValueError for an entry that could never match; text is one entry, and ``"*"`` alone is any origin."""
    entries = [origins] if isinstance(origins, str) else origins or ()
    if origins == "*":
        return
    for entry in entries:
        if (problem := origin_problem(entry)) is not None:
            raise ValueError(f"{entry!r} {problem}")
