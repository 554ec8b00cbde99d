"""Receives a row's medians · hands out a plot of them as SVG · owns how it looks.

The same figures give the same bytes, so that a plot changes in the repository only with what it shows.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from bench.environments import OURS
from bench.medians import BASE, Line
from bench.rows import Row
from bench.table import COLUMNS

OURS_COLOR, FLOOR_COLOR, PEER_COLOR = "#0b6e4f", "#9a9a9a", "#8fb8de"


def axis(row: Row) -> str:
    """What a row's plot shows."""
    return COLUMNS[row.figure][0]


def bars(row: Row, lines: Sequence[Line]) -> str | None:
    """A bar for each contender, the smallest on top; None: nobody was measured."""
    import matplotlib
    from matplotlib.figure import Figure

    factor = COLUMNS[row.figure][1]
    values = {
        line.contender: line.figures[row.figure] * factor for line in lines if row.figure in line.figures
    }
    values = dict(sorted(values.items(), key=lambda pair: -pair[1]))
    if not values:
        return None
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": row.slug, "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.2, 0.6 + 0.27 * len(values)), layout="constrained")
        axes = figure.add_subplot()
        drawn = axes.barh(list(values), list(values.values()), color=[_color(name) for name in values])
        axes.bar_label(drawn, fmt="%.3g", padding=3)
        axes.set_xlabel(f"{axis(row)}, less is better")
        # Where one is ten times another, the small ones could not be told apart.
        if min(values.values()) > 0 and max(values.values()) > 10 * min(values.values()):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.15)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _color(contender: str) -> str:
    if contender.startswith(OURS.name):
        return OURS_COLOR
    return FLOOR_COLOR if contender.startswith(BASE) else PEER_COLOR
