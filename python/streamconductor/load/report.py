"""Receives the generator's JSON · hands out what a run measured, typed · owns the names of the figures.

Times are microseconds where the name says so, else seconds. `None` is what was not measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Self

from .plan import Plan

__all__ = ["Faults", "Latency", "Opening", "Report", "Sample", "ServerPings", "Slow", "Storm"]


class _Read:
    """What is read from an object that may hold more than it needs."""

    @classmethod
    def read(cls, found: dict[str, Any]) -> Self:
        return cls(**{field.name: found[field.name] for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Latency(_Read):
    """How long something took, in microseconds."""

    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    p999_us: float | None
    max_us: float | None
    mean_us: float | None


@dataclass(frozen=True)
class Faults(_Read):
    """Errors by sort, and what the first ones said.

    Attributes:
        refused: openings that were refused or answered wrongly.
        timed_out: openings that took too long.
        ended: connections that the server ended, or that broke.
        violations: connections given up because the server broke the protocol.
        wrong: connections given up because something came that was not due.
        lost: messages whose answer or delivery never came.
        texts: the first texts, at most ten.
    """

    refused: int
    timed_out: int
    ended: int
    violations: int
    wrong: int
    lost: int
    texts: list[str]


@dataclass(frozen=True)
class Opening(Latency):
    """Opening handshakes: from the first packet to the 101, TLS included.

    Attributes:
        opened: connections that opened.
        seconds: until all were open that the run began with.
    """

    opened: int
    seconds: float


@dataclass(frozen=True)
class Slow(_Read):
    """The slow connections of `slow`: how many, how many of them the server ended, what they received."""

    connections: int
    ended: int
    messages: int


@dataclass(frozen=True)
class ServerPings(Latency):
    """Pings that idle connections received, and the time between two of them on a connection."""

    received: int


@dataclass(frozen=True)
class Storm(_Read):
    """Reconnect storms: for each, seconds until the last connection was back; openings that failed and were tried
    again; connections that were not back when the run ended.
    """

    all_back_seconds: list[float]
    retries: int
    missing: int


@dataclass(frozen=True)
class Sample(Latency):
    """One second of a run; `at_seconds`: its end, since the first connection."""

    at_seconds: float
    phase: str
    messages_per_second: float
    connections: int
    in_flight: int
    errors: int
    late_us: float | None
    server_load: float | None
    client_load: float | None
    rss_bytes: int | None
    kernel_socket_bytes: int | None


@dataclass(frozen=True)
class Report(Latency):
    """What a run measured.

    Attributes:
        scenario: what the connections did.
        messages: those that came in the window: round trips, deliveries (of `slow` to the others), pongs, opening
            handshakes, connections that came back.
        seconds: the window as it was.
        messages_per_second: of the window.
        cpu_us_per_message: processor time of the server's processes per message. None: no process was named.
        server_load: the server's processor seconds a second; near 1 per core, it is saturated.
        client_load: those of the generator's thread; near 1, it is the bottleneck.
        rss_bytes: resident memory of the server's processes at the end of the window.
        rss_before_bytes: the same before the first connection.
        kernel_socket_bytes: what the kernel held in TCP sockets at the end of the window, both ends, whoever's they
            are.
        kernel_socket_before_bytes: the same before the first connection.
        connections: open at the end of the window.
        errors: everything that went wrong, from the first connection to the last.
        lost: of these, messages that never came.
        faults: errors by sort.
        opening: all opening handshakes.
        late_us: open loop: the most that a message was sent later than it was due.
        is_interrupted: whether it was stopped before its time.
        slow: of `slow`.
        server_pings: of `idle`.
        storm: of `reconnect-storm`.
        distribution: percent, and the microseconds that so many messages took at most.
        samples: one for each second, from the first connection on.
        plan: what was run.
    """

    scenario: str
    messages: int
    seconds: float
    messages_per_second: float
    cpu_us_per_message: float | None
    server_load: float | None
    client_load: float | None
    rss_bytes: int | None
    rss_before_bytes: int | None
    kernel_socket_bytes: int | None
    kernel_socket_before_bytes: int | None
    connections: int
    errors: int
    lost: int
    faults: Faults
    opening: Opening
    late_us: float | None
    is_interrupted: bool
    slow: Slow | None
    server_pings: ServerPings | None
    storm: Storm | None
    distribution: list[tuple[float, float]]
    samples: list[Sample]
    plan: Plan
    document: dict[str, Any]

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Reads what `to_json` or ``streamconductor load --json`` wrote."""
        document = json.loads(text)
        parts: dict[str, Any] = {
            "faults": Faults.read(document["faults"]),
            "opening": Opening.read(document["opening"]),
            "slow": _optional(Slow, document, "slow"),
            "server_pings": _optional(ServerPings, document, "server_pings"),
            "storm": _optional(Storm, document, "storm"),
            "distribution": [(percent, micros) for percent, micros in document["distribution"]],
            "samples": [Sample.read(sample) for sample in document["samples"]],
            "plan": Plan.from_object(document["plan"]),
            "document": document,
        }
        return cls.read(document | parts)

    def to_json(self) -> str:
        """The report as one JSON object, as the generator wrote it."""
        return json.dumps(self.document)


def _optional(kind: type[Any], document: dict[str, Any], name: str) -> Any:
    return kind.read(document[name]) if document.get(name) is not None else None
