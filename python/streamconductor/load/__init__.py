"""Puts WebSocket servers under load and says what a message cost them: receives a `Plan` · hands back a `Report` · owns
the Python side of the load generator.

    from streamconductor import load

    report = load.run(load.Plan("echo", "ws://127.0.0.1:8000/echo", connections=100, seconds=5))
    print(report.messages_per_second, report.p99_us)

The generator itself is native and runs on a thread of its own. Give it a core that the server does not use.
"""

from __future__ import annotations

from .expectations import Expectation
from .plan import SCENARIOS, Check, Plan, Publisher, Scenario
from .report import Faults, Latency, Opening, Report, Sample, ServerPings, Slow, Storm
from .running import Run, run
from .snapshot import Snapshot

__all__ = [
    "SCENARIOS",
    "Check",
    "Expectation",
    "Faults",
    "Latency",
    "Opening",
    "Plan",
    "Publisher",
    "Report",
    "Run",
    "Sample",
    "Scenario",
    "ServerPings",
    "Slow",
    "Snapshot",
    "Storm",
    "run",
]
