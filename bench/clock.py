"""Receives the figures of a measurement · hands out the time that so many messages took in it · owns what is timed when
pytest-benchmark asks for the time.

A measurement starts a server and opens thousands of connections, and none of that is what a message costs. So the clock
stands still but for the messages: each measurement moves it on by the time that a fixed number of them took in the
window.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Timed(StrEnum):
    """What a row's unit is a number of."""

    MESSAGES = "messages, by the clock on the wall"
    PROCESSOR = "messages sent at a fixed rate, by the server's processor time"
    OPENINGS = "connections opened, by the clock on the wall"
    PINGS = "pings, by the server's processor time"


def seconds_for(timed: Timed, unit: int, figures: Mapping[str, float]) -> float:
    """What so many of them took.

    Args:
        timed: of what.
        unit: how many.
        figures: of a measurement.
    """
    match timed:
        case Timed.MESSAGES:
            return unit / figures["messages_per_second"]
        case Timed.PROCESSOR:
            return unit * figures["cpu_us_per_message"] / 1e6
        case Timed.OPENINGS:
            return unit * figures["opening.seconds"] / figures["opening.opened"]
        case Timed.PINGS:
            return unit * figures["server_load"] * figures["seconds"] / figures["server_pings.received"]


class LoadClock:
    """A clock that stands still but for `advance`."""

    __name__ = "time_of_the_messages"

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        """The time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves it on."""
        self._now += seconds
