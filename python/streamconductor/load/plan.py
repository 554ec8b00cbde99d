"""Receives what to run · hands it to the native generator as JSON · owns the fields and what each means; the rules that
they obey are the generator's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

__all__ = ["SCENARIOS", "Check", "Plan", "Publisher", "Scenario"]

Scenario = Literal["echo", "fanout", "handshake", "idle", "slow", "churn", "reconnect-storm"]
Publisher = Literal["control", "same", "external"]
Check = Literal["exact", "label", "nothing"]

SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


@dataclass(frozen=True)
class Plan:
    """What to run. Times are seconds, sizes bytes.

    Attributes:
        scenario: `echo`: send and await the answer. `fanout`: receive what is published. `handshake`: open, and close
            at once. `idle`: stay open. `slow`: as `fanout`, where some stop reading. `churn`: leave and come back at a
            rate. `reconnect-storm`: all are cut at once and come back at once.
        url: ``ws://`` or ``wss://``, with the path.
        connections: how many; for `handshake` openings at once. None: as many as suit the scenario.
        in_flight: closed loop: messages in flight, of each connection in `echo` (1), of the publisher in `fanout` and
            `slow` (16). None: that, unless there is a `rate`.
        rate: open loop: messages a second of all connections together; latency counts from when each was due, so a
            server that stalls cannot hide it. In `churn` connections a second. None: a closed loop; in `churn` 100.
        size: of a message, unless its template says otherwise. A publication has at least 16 bytes.
        message: template of what is sent: ``{seq}`` is the number of the message and ``{time}`` the microseconds since
            1970 at which it was due, both sixteen digits, ``{connection}`` the connection's number, ``{pad}`` fills up
            to `size`; every other brace stands for itself. None: ``{seq}{pad}``.
        binary: sends binary messages instead of text.
        check: how closely what comes is looked at. `exact`: it is to the byte what was sent. `label`: it contains the
            number of what was sent. `nothing`: it came; compressed messages are not even inflated.
        publisher: who publishes. `control`: a connection on `control_path`, whose messages the server publishes.
            `same`: one more connection on the path of `url`, as in a chat room. `external`: somebody else; deliveries
            are counted, and nothing is known of their latency.
        control_path: the path of the publishing connection.
        hello: templates of messages that every connection on the path of `url` sends as soon as it is open.
        headers: names and values, beside those that an opening handshake must have.
        subprotocols: those that are offered.
        compression: whether permessage-deflate is offered, without context takeover.
        ca: a file with the certificates to trust. None: ``wss://`` needs `insecure`.
        insecure: whether any certificate is trusted.
        tls_resume: whether TLS is resumed, as a browser does that comes back; otherwise every handshake is a whole one.
        sources: addresses to connect from, in turn. Empty: the system's choice, and beyond 25,000 connections to
            127.0.0.1 as many addresses of 127.0.0.0/8 as it takes.
        connect_rate: connections opened a second. None: as fast as they open.
        connect_at_once: openings under way at once. None: 100; in `reconnect-storm` all.
        open_timeout: from the first packet to the 101.
        warm_up: load before the window, in which nothing is counted.
        seconds: the window.
        drain: what is in flight at the end may take so long; what has not come then is lost.
        pids: the server's processes, whose processor time and memory are reported.
        ping_interval: `idle`: between two pings on a connection. None: none is sent.
        slow: `slow`: how many of the connections are. None: every tenth.
        slow_rate: `slow`: bytes a second that each of those reads; 0: none.
        pause: `reconnect-storm`: from everybody being back to the next cut.
    """

    scenario: Scenario
    url: str
    connections: int | None = None
    in_flight: int | None = None
    rate: float | None = None
    size: int = 128
    message: str | None = None
    binary: bool = False
    check: Check = "exact"
    publisher: Publisher = "control"
    control_path: str = "/control"
    hello: Sequence[str] = ()
    headers: Sequence[tuple[str, str]] = ()
    subprotocols: Sequence[str] = ()
    compression: bool = False
    ca: str | None = None
    insecure: bool = False
    tls_resume: bool = False
    sources: Sequence[str] = ()
    connect_rate: float | None = None
    connect_at_once: int | None = None
    open_timeout: float = 10.0
    warm_up: float = 1.0
    seconds: float = 5.0
    drain: float = 10.0
    pids: Sequence[int] = ()
    ping_interval: float | None = None
    slow: int | None = None
    slow_rate: int = 0
    pause: float = 1.0

    def to_json(self) -> str:
        """The plan as the generator reads it."""
        return json.dumps({field.name: _plain(getattr(self, field.name)) for field in fields(self)})

    @classmethod
    def from_object(cls, found: dict[str, Any]) -> Plan:
        """The plan that a report names."""
        return cls(**found)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
