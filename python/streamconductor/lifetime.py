"""Receives the moment at which a connection's life is to end · hands out how far it lies ahead · owns the change from
the clock on the wall, which jumps, to a time that is counted.
"""

from __future__ import annotations

import math
import time
from datetime import datetime

__all__ = ["Moment", "seconds_until"]

Moment = datetime | float
"""A datetime with a time zone, or seconds since 1970; ``math.inf`` is never."""


def seconds_until(name: str, moment: Moment) -> float:
    """How far a moment lies ahead; what lies in the past is negative.

    Args:
        name: what the moment is called in an error.
        moment: when.

    Raises:
        TypeError: it is neither a datetime nor a number.
        ValueError: a datetime without a time zone, or NaN.
    """
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise ValueError(
                f"{name} is {moment.isoformat()}, a datetime without a time zone; "
                "write datetime.now(UTC) + timedelta(…)"
            )
        return moment.timestamp() - time.time()
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise TypeError(f"{name} is a datetime or seconds since 1970, not {type(moment).__name__}")
    if math.isnan(moment):
        raise ValueError(f"{name} is NaN; write a datetime, or seconds since 1970")
    return float(moment) - time.time()
