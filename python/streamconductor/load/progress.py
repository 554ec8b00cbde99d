"""Receives how a run stands, ten times a second · shows it on a terminal · owns the line that is shown."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from .plan import Plan
from .snapshot import Snapshot

__all__ = ["Progress", "rates"]

_WORDS = {"warm_up": "warm-up", "done": "closing"}


class Progress:
    """A bar with live rates on standard error: ``with Progress(plan, is_shown=True) as progress: run(plan,
    progress.show)``.

    Args:
        plan: what runs.
        is_shown: whether anything is; where standard error is no terminal, nothing is either.
    """

    def __init__(self, plan: Plan, is_shown: bool) -> None:
        console = Console(stderr=True)
        self._plan = plan
        self._bar: Bar | None = None
        if is_shown and console.is_terminal:
            columns = (
                TextColumn("{task.description:<8}"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[rates]}"),
            )
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task("opening", total=1.0, rates="")

    def show(self, snapshot: Snapshot) -> None:
        """Shows how the run stands."""
        if self._bar is None:
            return
        phase = snapshot.phase
        lengths = {"warm_up": self._plan.warm_up, "window": self._plan.seconds, "drain": self._plan.drain}
        whole, done = lengths.get(phase, 1.0), snapshot.seconds
        if phase == "opening":
            whole, done = float(self._plan.connections or 0), float(snapshot.connections)
        total = whole if whole > 0 else None
        self._bar.update(
            self._task,
            description=_WORDS.get(phase, phase),
            total=total,
            completed=done if total is None else min(done, total),
            rates=rates(snapshot),
        )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def rates(snapshot: Snapshot) -> str:
    """The live figures, on one line."""
    parts = [f"{snapshot.connections:,} open"]
    last = snapshot.last
    if last is not None and snapshot.phase != "opening":
        parts.append(f"{last.messages_per_second:,.0f}/s")
        if last.p99_us is not None:
            parts.append(f"p50 {(last.p50_us or 0) / 1e3:,.2f} ms, p99 {last.p99_us / 1e3:,.2f} ms")
        if last.server_load is not None:
            parts.append(f"cpu {last.server_load:.2f}")
    if last is not None and last.rss_bytes is not None:
        parts.append(f"rss {last.rss_bytes / 2**20:,.1f} MiB")
    if snapshot.errors:
        parts.append(f"{snapshot.errors:,} errors")
    return "  ".join(parts)
