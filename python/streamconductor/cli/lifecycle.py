"""Receives the transition table that the core executes · hands it out as a diagram, JSON or text · owns their form,
and none of their content.
"""

from __future__ import annotations

import json
from collections import defaultdict
from enum import StrEnum

from .. import _core

__all__ = ["Form", "lifecycle"]

_COLUMNS = ("direction", "state", "event", "next", "meaning")


class Form(StrEnum):
    """How the table is written."""

    MERMAID = "mermaid"
    JSON = "json"
    TEXT = "text"


_CLIENT = frozenset({"outgoing", "link"})
"""What the client side goes through: a connection that we opened, and the link that opens one after another."""


def lifecycle(form: Form, *, client: bool | None = None) -> str:
    """The life of a connection, as the core executes it. ``client``: only of those that we open (True), only of those
    that the server accepts (False), or all (None).
    """
    rows = [row for row in _core.lifecycle_table() if client is None or (row[0] in _CLIENT) == client]
    match form:
        case Form.JSON:
            return json.dumps([dict(zip(_COLUMNS, row, strict=True)) for row in rows], indent=2)
        case Form.TEXT:
            widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
            lines = [zip(row, widths, strict=True) for row in (_COLUMNS, *rows)]
            return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in line).rstrip() for line in lines)
        case Form.MERMAID:
            return _mermaid(rows)


def _mermaid(rows: list[tuple[str, str, str, str, str]]) -> str:
    """One composite state per direction, which keeps states of one name apart."""
    directions: dict[str, list[str]] = defaultdict(list)
    for direction, state, event, following, _ in rows:
        transitions = directions[direction]
        if not transitions:
            transitions.append(f"[*] --> {_identifier(direction, state)}")
        arrow = f"{_identifier(direction, state)} --> {_identifier(direction, following)}: {event}"
        transitions.append(arrow)
    lines = ["stateDiagram-v2"]
    for direction, transitions in directions.items():
        states = dict.fromkeys(name for row in rows if row[0] == direction for name in (row[1], row[3]))
        lines.append(f"    state {direction} {{")
        lines += [f'        state "{name}" as {_identifier(direction, name)}' for name in states]
        lines += [f"        {transition}" for transition in transitions]
        lines.append("    }")
    return "\n".join(lines)


def _identifier(direction: str, state: str) -> str:
    return f"{direction}_{state}".replace(" ", "_").replace("-", "_")
