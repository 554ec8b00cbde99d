"""Receives nothing · hands out what an application may do wrong with a connection, and the error that it gets · owns
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[[Any], object]

WRONG_CALLS: dict[str, tuple[Call, type[Exception]]] = {
    "code 1005": (lambda connection: connection.close(1005), ValueError),
    "code 1006": (lambda connection: connection.close(1006), ValueError),
    "code 999": (lambda connection: connection.close(999), ValueError),
    "code 5000": (lambda connection: connection.close(5000), ValueError),
    "code as text": (lambda connection: connection.close("1000"), TypeError),
    "code True": (lambda connection: connection.close(True), TypeError),
    "reason of 124 bytes": (lambda connection: connection.close(1000, "x" * 124), ValueError),
    "reason of 62 ü": (lambda connection: connection.close(1000, "ü" * 62), ValueError),
    "reason as bytes": (lambda connection: connection.close(1000, b"bye"), TypeError),
    "reason with a surrogate": (lambda connection: connection.close(1000, "\ud800"), ValueError),
    "send of an object": (lambda connection: connection.send_nowait(object()), TypeError),
    "send of NaN": (lambda connection: connection.send_nowait(float("nan")), ValueError),
    "send of a surrogate": (lambda connection: connection.send_nowait("\ud800"), ValueError),
    "send of a surrogate in JSON": (lambda connection: connection.send_nowait(["\ud800"]), ValueError),
    "send above max_buffered": (lambda connection: connection.send_nowait(b"x" * (2 << 20)), ValueError),
    "a channel without a name": (lambda connection: connection.subscribe(""), ValueError),
    "a channel as bytes": (lambda connection: connection.subscribe(b"news"), TypeError),
    "a first message of NaN": (lambda connection: connection.subscribe("n", first=float("nan")), ValueError),
}
