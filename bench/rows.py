"""Receives nothing · hands out the rows of the comparison: what is asked of whom, and what should come of it · owns the
goals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.clock import Timed
from bench.contenders import ECHO, FANOUT, IDLE, OPENING, Contender, each, ours
from bench.environments import OURS
from bench.goals import CPU, Figures, Goal, at_most, bound, ratio, times
from bench.payloads import json_message

SUBSCRIBERS, MANY = 1_000, 9_000
STALLED = 100
PINGED = 15_000
PING_INTERVAL = 5
KIB = 1024
RING = 2 * KIB * KIB
"""`Config.max_buffered`: what the rings of stalled readers hold at most, once, for they share it."""


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
    shown: tuple[str, ...] = (CPU, "messages_per_second", "p50_us", "p99_us", "server_load", "client_load")
    """The columns of its table."""
    timed: Timed = Timed.MESSAGES
    """What `pytest bench/` times."""
    unit: int = 10_000
    """So many of them."""
    seconds: float | None = None
    """Length of the window; None: as long as asked for."""
    warm_up: float = 0.0
    """Seconds before it at least: what compiles while it runs needs more of rarer work."""
    rehearsal: int = 0
    """Connections that come and go first, so that what a server pays once is not counted."""
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


def _subscribers(count: int, in_flight: int) -> tuple[str, ...]:
    return ("--connections", str(count), "--in-flight", str(in_flight))


_SPARSE = Row(
    "fan-out, sparse",
    f"{SUBSCRIBERS:,} subscribers, one publication in flight",
    "fanout",
    _subscribers(SUBSCRIBERS, 1),
    (ours("/fanout"), *FANOUT),
    (
        at_most(1.0, OURS.name, "floor", "≤ 1.0 × the floor"),
        at_most(1.0, OURS.name, "socketify", "≤ 1.0 × socketify"),
    ),
    quick=True,
)

_SATURATED = Row(
    "fan-out, saturated",
    f"{SUBSCRIBERS:,} subscribers, 16 publications in flight",
    "fanout",
    _subscribers(SUBSCRIBERS, 16),
    (ours("/fanout"), *FANOUT),
    (
        at_most(1.0, OURS.name, "socketify", "≤ 1.0 × socketify"),
        at_most(1.1, OURS.name, "floor", "≤ 1.1 × the floor"),
        *(
            times(12, OURS.name, peer, f"≥ 12 × the deliveries of {peer}")
            for peer in ("websockets", "picows", "starlette")
        ),
    ),
    unit=100_000,
    quick=True,
)

_COROUTINE, _CALLBACK = ours("/echo", form="async for"), ours("/echo-callback", form="callback")
_ECHO = Row(
    "echo",
    "100 connections, one message in flight on each, through a handler",
    "echo",
    ("--connections", "100"),
    (_COROUTINE, _CALLBACK, *ECHO),
    (
        at_most(1.0, _COROUTINE.name, "picows", "`async for` ≤ 1.0 × picows' callback"),
        at_most(1.0, _COROUTINE.name, "socketify", "`async for` ≤ 1.0 × socketify's callback"),
        at_most(0.35, _COROUTINE.name, "websockets", "`async for` ≤ 0.35 × websockets"),
        at_most(1.1, _COROUTINE.name, "floor", "`async for` ≤ 1.1 × the floor"),
        at_most(0.95, _CALLBACK.name, "picows", "callback ≤ 0.95 × picows' callback"),
    ),
    quick=True,
)

_ASKED = ours("/idle", form="on_connect")
_UNASKED = ours("/idle", form="no on_connect", server=("--without-on-connect",))
_HANDSHAKE = Row(
    "handshake",
    "Opening handshakes one after another, each closed at once; the closing is part of the cost",
    "handshake",
    (),
    (_ASKED, _UNASKED, *OPENING),
    (
        at_most(0.75, _ASKED.name, "ws", "with a Python `on_connect` ≤ 0.75 × ws"),
        at_most(1.4, _UNASKED.name, "floor", "without one ≤ 1.4 × the floor"),
    ),
    unit=1_000,
    warm_up=3.0,
    quick=True,
)

_SECURED = replace(ours("/fanout", form="TLS", server=("--tls",), load=("--insecure",)), scheme="wss")
_PUSHED, _WITH_TASK = ours("/fanout"), ours("/fanout-task", form="a task each")
_IDLE = Row(
    "idle memory",
    f"{MANY:,} idle subscribers; resident memory of the server for each, kernel memory of both ends beside it",
    "idle",
    ("--connections", str(MANY)),
    (_PUSHED, _WITH_TASK, _SECURED, *IDLE),
    (
        bound(2, _PUSHED.name, "bytes_per_connection", "≤ 2 KiB without a Python task", "KiB", KIB),
        bound(5, _WITH_TASK.name, "bytes_per_connection", "≤ 5 KiB with a Python task", "KiB", KIB),
    ),
    figure="bytes_per_connection",
    shown=("bytes_per_connection", "kernel_bytes_per_connection", "rss_bytes"),
    timed=Timed.OPENINGS,
    unit=1_000,
    seconds=0.5,
    rehearsal=200,
    quick=True,
)

_DEFLATE = ("--compression",)
_SQUEEZED = ours("/fanout", form="compressed", server=_DEFLATE, load=_DEFLATE)
_RAW = ours("/fanout", form="uncompressed")
_SQUEEZING = each("/fanout", "websockets", "socketify", "ws", server=_DEFLATE, load=_DEFLATE)
_JSON = ("--size", str(KIB), "--message", json_message(KIB))
_COMPRESSED = Row(
    "compressed fan-out, sparse",
    f"{SUBSCRIBERS:,} subscribers, 1 KiB of JSON, permessage-deflate without context takeover, one publication in "
    "flight",
    "fanout",
    (*_subscribers(SUBSCRIBERS, 1), *_JSON),
    (_SQUEEZED, _RAW, *_SQUEEZING),
    (
        at_most(1.1, _SQUEEZED.name, _RAW.name, "≤ 1.1 × uncompressed"),
        at_most(0.3, _SQUEEZED.name, "websockets", "≤ 0.3 × websockets"),
        at_most(0.3, _SQUEEZED.name, "socketify", "≤ 0.3 × socketify"),
    ),
)

_COMPRESSED_SATURATED = Row(
    "compressed fan-out, saturated",
    "The same, 16 publications in flight; what comes is counted and not inflated by the client",
    "fanout",
    (*_subscribers(SUBSCRIBERS, 16), *_JSON, "--check", "nothing"),
    (_SQUEEZED, *_SQUEEZING),
    (
        times(20, _SQUEEZED.name, "websockets", "≥ 20 × the deliveries of websockets"),
        times(20, _SQUEEZED.name, "socketify", "≥ 20 × the deliveries of socketify"),
    ),
)

_ALL_READ, _SOME_STALLED = "all read", f"{STALLED} stalled"


def _reading(peer: str, server: tuple[str, ...] = ()) -> tuple[Contender, Contender]:
    stalled = ("--slow", str(STALLED))
    return (
        Contender(f"{peer}, {_ALL_READ}", peer, "/fanout", server),
        Contender(f"{peer}, {_SOME_STALLED}", peer, "/fanout", server, stalled, "slow"),
    )


def _for_each_stalled(figures: Figures) -> float | None:
    """KiB that the server's resident memory and the kernel's for its sockets grow by, for each reader that stalls,
    beyond what their rings hold.
    """
    totals = []
    for form in (_SOME_STALLED, _ALL_READ):
        taken = figures.get(f"{OURS.name}, {form}", {})
        parts = [taken.get(name) for name in ("rss_bytes", "server_kernel_bytes")]
        if None in parts:
            return None
        totals.append(sum(part for part in parts if part is not None))
    return (totals[0] - totals[1] - RING) / STALLED / KIB


_SLOW = Row(
    "slow readers",
    f"{SUBSCRIBERS:,} subscribers of which {STALLED} stop reading, 4 KiB, 40 publications a second, 12 s; the figures "
    "are those of the others",
    "fanout",
    ("--connections", str(SUBSCRIBERS), "--rate", "40", "--size", str(4 * KIB)),
    (*_reading(OURS.name, ("--overflow", "drop_oldest")), *_reading("picows"), *_reading("websockets")),
    (
        at_most(
            1.1,
            f"{OURS.name}, {_SOME_STALLED}",
            f"{OURS.name}, {_ALL_READ}",
            "p99 of the others ≤ 1.1 ×",
            "p99_us",
        ),
        at_most(
            1.2, f"{OURS.name}, {_SOME_STALLED}", f"{OURS.name}, {_ALL_READ}", "CPU per delivery ≤ 1.2 ×"
        ),
        Goal(
            "RSS and kernel memory beyond the rings ≤ 64 KiB a stalled reader",
            _for_each_stalled,
            64,
            unit="KiB",
            contenders=(f"{OURS.name}, {_SOME_STALLED}", f"{OURS.name}, {_ALL_READ}"),
        ),
    ),
    shown=(CPU, "p50_us", "p99_us", "rss_bytes", "server_kernel_bytes", "kernel_socket_bytes", "slow.ended"),
    timed=Timed.PROCESSOR,
    seconds=12.0,
)

_PINGING = ("--ping-interval", f"{PING_INTERVAL}s")
_FREE = ours("/fanout", form="Python free", server=_PINGING)
_BLOCKED = ours(
    "/fanout",
    form="Python blocked for 10 s",
    server=(*_PINGING, "--block-at", str(PINGED), "--block-for", "10"),
)


def _jitter(contender: str) -> Goal:
    """A ping follows so long a silence, so that two are never nearer."""

    def measure(figures: Figures) -> float | None:
        interval = figures.get(contender, {}).get("server_pings.p99_us")
        return None if interval is None else interval / 1000 - PING_INTERVAL * 1000

    words = f"{contender.partition(', ')[2]}: jitter p99 < 250 ms"
    return Goal(words, measure, 250, unit="ms", contenders=(contender,))


_HEARTBEATS = Row(
    "heartbeats",
    f"{PINGED:,} idle connections, each pinged after {PING_INTERVAL} s of silence, 16 s",
    "idle",
    # How many errors there are is a goal here, and no reason to have no figures.
    ("--connections", str(PINGED), "--expect", f"errors<={PINGED}"),
    (_FREE, _BLOCKED),
    tuple(
        goal
        for contender in (_FREE, _BLOCKED)
        for form in (contender.name.partition(", ")[2],)
        for goal in (
            bound(0.10, contender.name, "server_load", f"{form}: ≤ 10 % of one core", "of a core"),
            bound(0, contender.name, "errors", f"{form}: no false kill", "connections"),
            _jitter(contender.name),
        )
    ),
    figure="server_load",
    shown=("server_load", "server_pings.received", "server_pings.p50_us", "server_pings.p99_us", "errors"),
    timed=Timed.PINGS,
    seconds=16.0,
)


def _sized(peer: str, count: int, *server: str, form: str = "") -> Contender:
    words = ("--connections", str(count))
    return Contender(f"{peer}, {form}{count:,}", peer, "/fanout", server, words)


_FEW, _LOTS = _sized(OURS.name, SUBSCRIBERS), _sized(OURS.name, MANY)
_FLOOR_FEW, _FLOOR_LOTS = _sized("floor", SUBSCRIBERS), _sized("floor", MANY)
_GROWTH = Goal(
    "grows ≤ 1.1 × as much as the floor",
    ratio([(_LOTS.name, CPU), (_FLOOR_FEW.name, CPU)], [(_FEW.name, CPU), (_FLOOR_LOTS.name, CPU)]),
    1.1,
    contenders=(_FEW.name, _LOTS.name, _FLOOR_FEW.name, _FLOOR_LOTS.name),
)
_GROWTH_SPARSE = Row(
    "growth, sparse",
    f"{SUBSCRIBERS:,} and {MANY:,} subscribers, one publication in flight",
    "fanout",
    ("--in-flight", "1"),
    (_FEW, _LOTS, _FLOOR_FEW, _FLOOR_LOTS),
    (_GROWTH,),
)

_TWO_SHARDS = _sized(OURS.name, SUBSCRIBERS, "--threads", "2", form="two shards, ")
_GROWTH_SATURATED = Row(
    "growth, saturated",
    f"{SUBSCRIBERS:,} and {MANY:,} subscribers, 16 publications in flight; two shards share the one core",
    "fanout",
    ("--in-flight", "16"),
    (
        *(_FEW, _LOTS, _TWO_SHARDS, _FLOOR_FEW, _FLOOR_LOTS),
        *(_sized("socketify", MANY), _sized("websockets", MANY)),
    ),
    (
        _GROWTH,
        times(25, _LOTS.name, f"websockets, {MANY:,}", f"at {MANY:,} ≥ 25 × the deliveries of websockets"),
        times(1.2, _LOTS.name, f"socketify, {MANY:,}", f"at {MANY:,} ≥ 1.2 × the deliveries of socketify"),
        at_most(1.1, _TWO_SHARDS.name, _FEW.name, "two shards ≤ 1.1 × one"),
    ),
    unit=100_000,
)

ROWS = (
    *(_SPARSE, _SATURATED, _ECHO, _HANDSHAKE, _IDLE, _COMPRESSED, _COMPRESSED_SATURATED),
    *(_SLOW, _HEARTBEATS, _GROWTH_SPARSE, _GROWTH_SATURATED),
)
