"""Tools for the tests of applications: receives a server or an address · hands out what runs and disturbs it · owns
nothing that outlives its block.

    from streamconductor import testing

    async with testing.serving(server) as site, testing.ChaosProxy("127.0.0.1", site.port, seed=7) as proxy:
        proxy.disturb(latency=0.2, jitter=0.1)
        async with connect(proxy.url("/ws")) as client: ...

``streamconductor.testing.fixtures`` has them as fixtures of pytest, which nothing else here needs.
"""

from __future__ import annotations

from .factories import Chaos, Serve
from .faults import Changes, Direction, Faults, Scope
from .proxy import ChaosProxy
from .record import Counters, Log, LogEntry
from .script import Action, Step, random_steps
from .serving import Serving, serving

__all__ = [
    "Action",
    "Changes",
    "Chaos",
    "ChaosProxy",
    "Counters",
    "Direction",
    "Faults",
    "Log",
    "LogEntry",
    "Scope",
    "Serve",
    "Serving",
    "Step",
    "random_steps",
    "serving",
]
