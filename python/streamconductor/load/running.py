"""Receives a `Plan` · hands back a `Report` · owns the wait for it, in which Ctrl-C ends the load and not the
report.
"""

from __future__ import annotations

from collections.abc import Callable

from .._core import LoadRun
from .descriptors import ensure_descriptors
from .plan import Plan
from .report import Report
from .snapshot import Snapshot

__all__ = ["Run", "run"]

# Seconds between two looks.
_PERIOD = 0.1


class Run:
    """A run under way, on a native thread of its own.

    Args:
        plan: what to run.

    Raises:
        ValueError: the plan cannot be run.
    """

    def __init__(self, plan: Plan) -> None:
        ensure_descriptors(plan)
        self._native = LoadRun(plan.to_json())

    def snapshot(self) -> Snapshot:
        """How it stands, at most a tenth of a second ago."""
        return Snapshot.from_json(self._native.snapshot())

    def stop(self) -> None:
        """Ends it before its time: no more load, what is in flight may come. Told again, it waits for nothing."""
        self._native.stop()

    def wait(self, seconds: float) -> bool:
        """Waits for its end, at most so long; whether it has ended."""
        return self._native.wait(seconds)

    def report(self) -> Report:
        """Waits for its report.

        Raises:
            RuntimeError: nothing could be measured, because no connection opened or nobody received anything.
        """
        return Report.from_json(self._native.report())


def run(plan: Plan, watch: Callable[[Snapshot], object] | None = None) -> Report:
    """Runs a plan to its end. Ctrl-C ends the load: the report says `is_interrupted` and holds what was measured so
    far. A second one waits for nothing.

    Args:
        plan: what to run.
        watch: called ten times a second with how the run stands.

    Raises:
        ValueError: the plan cannot be run.
        RuntimeError: nothing could be measured.
    """
    under_way = Run(plan)
    while True:
        try:
            while not under_way.wait(_PERIOD):
                if watch is not None:
                    watch(under_way.snapshot())
            return under_way.report()
        except KeyboardInterrupt:
            under_way.stop()
        except BaseException:
            under_way.stop()
            under_way.stop()
            raise
