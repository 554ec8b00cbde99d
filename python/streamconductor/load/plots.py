"""Receives a report · draws its figures as SVG · owns which plots there are and how they look. Needs the extra
`plots`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from .report import Report, Sample

__all__ = ["plots"]

_SIZE = (8.0, 3.2)
_COLOURS = ("#1f6feb", "#d1495b", "#2a9d5b", "#8a63d2")


def plots(report: Report) -> list[tuple[str, str]]:
    """Title and SVG of every plot for which there is something to draw."""
    drawn = [
        ("Latency by percentile", _distribution(report)),
        (
            "Throughput",
            _over_time(report, "messages a second", [("", lambda sample: sample.messages_per_second)]),
        ),
        (
            "Latency over time",
            _over_time(
                report,
                "milliseconds",
                [
                    ("p50", lambda sample: _scaled(sample.p50_us, 1e-3)),
                    ("p99", lambda sample: _scaled(sample.p99_us, 1e-3)),
                    ("max", lambda sample: _scaled(sample.max_us, 1e-3)),
                    ("sent late", lambda sample: _scaled(sample.late_us, 1e-3)),
                ],
            ),
        ),
        (
            "Lag: messages in flight",
            _over_time(report, "messages", [("", lambda sample: sample.in_flight)]),
        ),
        ("Connections", _over_time(report, "open", [("", lambda sample: sample.connections)])),
        (
            "Memory",
            _over_time(
                report,
                "MiB",
                [
                    ("server RSS", lambda sample: _scaled(sample.rss_bytes, 2**-20)),
                    ("kernel sockets", lambda sample: _scaled(sample.kernel_socket_bytes, 2**-20)),
                ],
            ),
        ),
        (
            "Processor",
            _over_time(
                report,
                "cores",
                [
                    ("server", lambda sample: sample.server_load),
                    ("client", lambda sample: sample.client_load),
                ],
            ),
        ),
    ]
    return [(title, svg) for title, svg in drawn if svg is not None]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _distribution(report: Report) -> str | None:
    """Latency over 1 / (1 - percentile), on a logarithmic axis: each nine gets the same room."""
    points = [
        (1 / (1 - percent / 100), micros / 1e3) for percent, micros in report.distribution if percent < 100
    ]
    if len(points) < 2:
        return None
    figure, axes = _axes("milliseconds")
    axes.plot(*zip(*points, strict=True), color=_COLOURS[0])
    axes.set_xscale("log")
    most = points[-1][0]
    ticks = [(1, "0"), (2, "50"), (10, "90"), (100, "99"), (1e3, "99.9"), (1e4, "99.99"), (1e5, "99.999")]
    shown = [(place, label) for place, label in ticks if place <= most * 1.2]
    axes.set_xticks([place for place, _ in shown], [label for _, label in shown])
    axes.minorticks_off()
    axes.set_xlabel("percentile")
    axes.set_ylim(bottom=0)
    return _svg(figure)


def _over_time(
    report: Report, unit: str, lines: Sequence[tuple[str, Callable[[Sample], float | None]]]
) -> str | None:
    figure, axes = _axes(unit)
    is_empty = True
    for (name, value), colour in zip(lines, _COLOURS, strict=False):
        points = [
            (sample.at_seconds, found) for sample in report.samples if (found := value(sample)) is not None
        ]
        if points and any(found for _, found in points):
            is_empty = False
            axes.plot(*zip(*points, strict=True), label=name or None, color=colour, marker=".", markersize=4)
    if is_empty:
        return None
    window = [sample.at_seconds for sample in report.samples if sample.phase == "window"]
    if window:
        axes.axvspan(max(window[-1] - report.seconds, 0), window[-1], color="#8888881a", linewidth=0)
    if len(lines) > 1:
        axes.legend(loc="best", frameon=False)
    axes.set_xlabel("seconds; shaded: the window")
    axes.set_ylim(bottom=0)
    return _svg(figure)


def _axes(unit: str) -> tuple[Figure, Any]:
    # No pyplot: nothing global, no display, and nothing that has to be closed.
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel(unit)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The picture as an element to stand in HTML."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg\b)", "", file.getvalue(), flags=re.DOTALL)
