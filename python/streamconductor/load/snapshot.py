"""Receives the generator's JSON · hands out how a run stands · owns the names of what is shown while it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .report import Sample

__all__ = ["Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """How a run stands.

    Attributes:
        phase: `opening`, `warm_up`, `window`, `drain`, `closing` or `done`.
        seconds: since this phase began.
        connections: open now.
        messages: of the window so far, or of the warm-up.
        errors: everything that went wrong so far.
        last: the last whole second; None: there was none.
    """

    phase: str
    seconds: float
    connections: int
    messages: int
    errors: int
    last: Sample | None

    @classmethod
    def from_json(cls, text: str) -> Snapshot:
        """Reads what the generator says."""
        found = json.loads(text)
        last = found.pop("last")
        return cls(**found, last=None if last is None else Sample.read(last))
