"""Receives conditions as people write them, such as ``p99<50ms`` · hands out whether a report fulfils them · owns their
names, signs and units.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..units import duration, format_duration, format_size, size
from .report import Report

__all__ = ["NAMES", "Expectation"]

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*(?P<name>[a-z0-9_]+)\s*(?P<sign><=|>=|<|>|==|=)\s*(?P<limit>\S.*?)\s*")
_COUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<factor>[kM]?)(?:/s)?")
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6}


def _storm(report: Report) -> float | None:
    times = report.storm.all_back_seconds if report.storm is not None else []
    return max(times) * 1e6 if times else None


_TIMES: dict[str, Callable[[Report], float | None]] = {
    "p50": lambda report: report.p50_us,
    "p90": lambda report: report.p90_us,
    "p99": lambda report: report.p99_us,
    "p999": lambda report: report.p999_us,
    "max": lambda report: report.max_us,
    "mean": lambda report: report.mean_us,
    "late": lambda report: report.late_us,
    "cpu": lambda report: report.cpu_us_per_message,
    "open_p99": lambda report: report.opening.p99_us,
    "open_max": lambda report: report.opening.max_us,
    "back": _storm,
}
_SIZES: dict[str, Callable[[Report], float | None]] = {
    "rss": lambda report: report.rss_bytes,
    "sockets": lambda report: report.kernel_socket_bytes,
}
_COUNTS: dict[str, Callable[[Report], float | None]] = {
    "throughput": lambda report: report.messages_per_second,
    "messages": lambda report: report.messages,
    "errors": lambda report: report.errors,
    "lost": lambda report: report.lost,
    "connections": lambda report: report.connections,
    "server_load": lambda report: report.server_load,
    "client_load": lambda report: report.client_load,
}
NAMES = (*_TIMES, *_SIZES, *_COUNTS)
"""What a condition may be about."""


@dataclass(frozen=True)
class Expectation:
    """A condition on a report.

    Attributes:
        text: as it was written.
        name: which figure, one of `NAMES`.
        sign: ``<``, ``<=``, ``>``, ``>=`` or ``=``.
        limit: microseconds, bytes or a number.
    """

    text: str
    name: str
    sign: str
    limit: float

    @classmethod
    def read(cls, text: str) -> Expectation:
        """Reads a condition: ``p99<50ms``, ``throughput>=100k``, ``rss<200MiB``, ``errors=0``.

        Raises:
            ValueError: it is none; the text says what is wrong with it.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is no condition; write one such as p99<50ms, throughput>100k or errors=0"
            )
        name = match["name"]
        if name not in NAMES:
            raise ValueError(f"{text!r}: there is no figure {name}; there are {', '.join(NAMES)}")
        try:
            limit = _limit(name, match["limit"])
        except ValueError as error:
            raise ValueError(f"{text!r}: {match['limit']} {error}") from None
        return cls(text.strip(), name, match["sign"], limit)

    def problem(self, report: Report) -> str | None:
        """Why the report does not fulfil it; None: it does. What was not measured fulfils nothing."""
        value = (_TIMES | _SIZES | _COUNTS)[self.name](report)
        if value is None:
            hint = (
                "; name the server's processes with --pid"
                if self.name in {"cpu", "rss", "server_load"}
                else ""
            )
            return f"expected {self.text}: {self.name} was not measured{hint}"
        if _SIGNS[self.sign](value, self.limit):
            return None
        return f"expected {self.text}: {self.name} is {_written(self.name, value)}"


def _limit(name: str, text: str) -> float:
    if name in _TIMES:
        if re.fullmatch(r"[\d.]+", text):
            raise ValueError("has no unit; write us, ms or s")
        return duration(text) * 1e6
    if name in _SIZES:
        return float(size(text))
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ValueError("is no number; write digits, with k or M for thousands and millions")
    return float(match["number"]) * _FACTORS[match["factor"]]


def _written(name: str, value: float) -> str:
    if name in _TIMES:
        return format_duration(float(f"{value / 1e6:.4g}"))
    if name in _SIZES:
        return format_size(int(value))
    return f"{value:,.10g}"
