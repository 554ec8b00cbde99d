"""Receives sizes and durations as people write them · hands out bytes and seconds · owns their spelling."""

from __future__ import annotations

import math
import re
from datetime import timedelta

__all__ = ["LARGEST", "LONGEST", "duration", "format_duration", "format_size", "size"]

LARGEST = 2**48
"""The largest size in bytes, 256 TiB: no machine has more, and every number of the native half holds it."""

LONGEST = 10 * 365 * 86_400.0
"""The longest duration in seconds, ten years: whatever is longer is a mistake, and `None` says "never"."""

_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)", re.IGNORECASE)
_DURATION_PART = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?P<unit>[a-z]*)\s*", re.IGNORECASE)


def size(value: object) -> int:
    """Reads a number of bytes.

    Args:
        value: whole bytes as a number, or text with a unit: ``"64KiB"`` and ``"1.5MiB"`` count in 1,024s,
            ``"2MB"`` in 1,000s.

    Raises:
        ValueError: it is neither, or not a whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        unit = _BYTES.get(match["unit"].lower())
        if unit is not None:
            number = float(match["number"]) * unit if "." in match["number"] else int(match["number"]) * unit
            # Digits without end and a point make a float that is infinite.
            if number != math.inf and number == int(number):
                return int(number)
    raise ValueError("is no size; write whole bytes, or a number with B, kB, KiB, MB, MiB, GB or GiB")


def duration(value: object) -> float:
    """Reads a number of seconds.

    Args:
        value: seconds as a number, a ``timedelta``, or text with units: ``"250ms"``, ``"5s"``, ``"1h30m"``.

    Raises:
        ValueError: it is none of these, not finite, or longer than `LONGEST`.
    """
    seconds: float | None = None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        # An int may be beyond every float, and must be no other error than a large float is. NaN passes both, in this
        # order of the arguments.
        seconds = float(max(min(value, 2 * LONGEST), -LONGEST))
    elif isinstance(value, str):
        seconds = _written_duration(value.strip())
    if seconds is None or math.isnan(seconds):
        raise ValueError("is no duration; write seconds, or a number with us, ms, s, m, h or d")
    if seconds > LONGEST:
        raise ValueError("is longer than ten years; None is how to say never")
    return seconds


def _written_duration(text: str) -> float | None:
    total, position = 0.0, 0
    while match := _DURATION_PART.match(text, position):
        unit = _SECONDS.get(match["unit"].lower())
        # "1h30" would leave open what the 30 are: a number without a unit stands alone.
        if unit is None or (not match["unit"] and match.end() - match.start() != len(text)):
            return None
        total, position = total + float(match["number"]) * unit, match.end()
    return total if text and position == len(text) else None


def format_size(count: int) -> str:
    """Writes bytes the way `size` reads them, in the largest unit that loses nothing."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}B"


def format_duration(seconds: float) -> str:
    """Writes seconds the way `duration` reads them, to the microsecond."""
    if seconds and abs(seconds) < 1:
        return f"{round(seconds * 1e3, 3):.12g}ms"
    return f"{round(seconds, 6):.12g}s"
