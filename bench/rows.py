"""Receives nothing · hands out the rows of the comparison: what is asked of whom, and what should come of it · owns the
goals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.environments import OURS
from bench.goals import CPU, Goal, at_most, times

SUBSCRIBERS = 1_000
MANY = 9_000
STALLED = 100
IDLE = 15_000


@dataclass(frozen=True)
class Contender:
    """One line of a row: a server, as it is started and addressed."""

    name: str
    """In this row no other has it."""
    peer: str
    path: str
    server: tuple[str, ...] = ()
    """Arguments of the server."""
    load: tuple[str, ...] = ()
    """Words of the load generator's beside the row's."""


@dataclass(frozen=True)
class Row:
    """A piece of work."""

    name: str
    words: str
    """What is measured, for people."""
    scenario: str
    """Of the load generator."""
    load: tuple[str, ...]
    """Words for the load generator."""
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    figure: str = CPU
    """The one that the row is about."""
    unit: int = 10_000
    """Messages that `pytest bench/` times."""
    seconds: float | None = None
    """Length of the window; None: as long as asked for."""
    quick: bool = False
    """Whether a quick run has it."""

    @property
    def slug(self) -> str:
        """Its name in identifiers and files."""
        return "-".join(self.name.replace(",", "").split())

    def of_the_goals(self) -> Row:
        """The row with those contenders alone that its goals need."""
        needed = {name for goal in self.goals for name in goal.contenders}
        return replace(self, contenders=tuple(each for each in self.contenders if each.name in needed))


# A client of centrifuge speaks its protocol: it connects, the server subscribes it, it publishes by `send` and has its
# echo by `rpc`. What comes back is known by its number.
_CONNECT = ("--hello", '{"id":1,"connect":{}}', "--check", "label")
_CENTRIFUGE_FANOUT = Contender(
    "centrifuge",
    "centrifuge",
    "/connection",
    load=(*_CONNECT, "--control-path", "/connection", "--message", '{"send":{"data":"{seq}{pad}"}}'),
)
_CENTRIFUGE_ECHO = Contender(
    "centrifuge", "centrifuge", "/connection", load=(*_CONNECT, "--message", '{"id":2,"rpc":{"data":"{seq}{pad}"}}')
)


def _each(path: str, *peers: str, server: tuple[str, ...] = ()) -> tuple[Contender, ...]:
    return tuple(Contender(peer, peer, path, server) for peer in peers)


NATIVE = ("socketify", "picows", "websockets", "ws", "gws", "aiohttp", "starlette", "granian")

_sparse = Row(
    "fan-out, sparse",
    f"{SUBSCRIBERS:,} subscribers, one publication in flight",
    "fanout",
    ("--connections", str(SUBSCRIBERS), "--in-flight", "1"),
    (Contender(OURS.name, OURS.name, "/fanout"), *_each("/fanout", "floor", *NATIVE)),
    (
        at_most(1.0, OURS.name, "floor", "≤ 1.0 × the floor's CPU"),
        at_most(1.0, OURS.name, "socketify", "≤ 1.0 × socketify's CPU"),
    ),
    quick=True,
)

_saturated = Row(
    "fan-out, saturated",
    f"{SUBSCRIBERS:,} subscribers, 16 publications in flight",
    "fanout",
    ("--connections", str(SUBSCRIBERS), "--in-flight", "16"),
    (Contender(OURS.name, OURS.name, "/fanout"), *_each("/fanout", "floor", *NATIVE)),
    (
        at_most(1.0, OURS.name, "socketify", "≤ 1.0 × socketify's CPU"),
        at_most(1.1, OURS.name, "floor", "≤ 1.1 × the floor's CPU"),
        *(
            times(12, OURS.name, peer, f"≥ 12 × the deliveries of {peer} per CPU second")
            for peer in ("websockets", "picows", "starlette")
        ),
    ),
    quick=True,
)

_coroutine, _callback = f"{OURS.name}, async for", f"{OURS.name}, callback"
_echo = Row(
    "echo",
    "100 connections, one message in flight on each, through a Python handler",
    "echo",
    ("--connections", "100"),
    (
        Contender(_coroutine, OURS.name, "/echo"),
        Contender(_callback, OURS.name, "/echo-callback"),
        *_each("/echo", "floor", *NATIVE),
    ),
    (
        at_most(1.0, _coroutine, "picows", "`async for` ≤ 1.0 × picows' callback"),
        at_most(1.0, _coroutine, "socketify", "`async for` ≤ 1.0 × socketify's callback"),
        at_most(0.35, _coroutine, "websockets", "`async for` ≤ 0.35 × websockets"),
        at_most(1.1, _coroutine, "floor", "`async for` ≤ 1.1 × the floor"),
        at_most(0.95, _callback, "picows", "callback ≤ 0.95 × picows' callback"),
    ),
    quick=True,
)

ROWS = (_sparse, _saturated, _echo)
