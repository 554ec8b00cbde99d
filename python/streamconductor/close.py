"""Receives a close code and reason from the application · hands back what may stand in a Close frame · owns
the codes in use and the rules for them (RFC 6455 §7.4); endings and their codes are the core's list.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["MAX_REASON", "CloseCode", "check_close"]

MAX_REASON = 123
"""Longest close reason in bytes: a control frame carries 125, two of them are the code (RFC 6455 §5.5.1)."""


class CloseCode(IntEnum):
    """Close codes that this server sends or reports; any number of 3000–4999 is the application's to use."""

    NORMAL = 1000
    """The work is done: the handler returned, or `close()` was called without a code."""
    GOING_AWAY = 1001
    """Idle for `idle_timeout`, or the page was left."""
    PROTOCOL_ERROR = 1002
    """The peer broke the protocol."""
    UNSUPPORTED_DATA = 1003
    """Binary where text was expected."""
    NO_STATUS = 1005
    """Reported, never sent: the peer's Close had no code."""
    ABNORMAL = 1006
    """Reported, never sent: the connection was lost without a closing handshake."""
    INVALID_DATA = 1007
    """Text that is no UTF-8, or a message that its model refuses."""
    POLICY_VIOLATION = 1008
    """A rate or another rule was broken."""
    MESSAGE_TOO_BIG = 1009
    """Above `max_message_size`, `max_frame_size` or `max_fragments`."""
    INTERNAL_ERROR = 1011
    """The handler raised."""
    SERVICE_RESTART = 1012
    """Shutdown, or `max_connection_age`: come back after a random delay."""
    TRY_AGAIN_LATER = 1013
    """Evicted, or over the memory budget: come back after a growing delay."""
    SLOW_CONSUMER = 4008
    """Too much pending for too long: come back after a growing delay."""
    TOKEN_EXPIRED = 4401
    """Come back with a fresh token."""
    DISCONNECTED = 4403
    """Ended by the application through `disconnect`: do not come back."""


def check_close(code: object = CloseCode.NORMAL, reason: object = "") -> tuple[int, str]:
    """Checks what is to stand in a Close frame, before anything is on its way.

    Args:
        code: 1000–1003, 1007–1014 or 3000–4999; default 1000.
        reason: at most `MAX_REASON` bytes of UTF-8; default empty.

    Returns:
        Both, as a plain `int` and `str`.

    Raises:
        TypeError: `code` is no `int` or `reason` no `str`.
        ValueError: the code may not be sent, or the reason is too long or not encodable.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"close code must be an int, not {type(code).__name__}")
    if not isinstance(reason, str):
        raise TypeError(f"close reason must be a str, not {type(reason).__name__}")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(f"close code {int(code)} may not be sent; use 1000–1003, 1007–1014 or 3000–4999")
    try:
        length = len(reason.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"close reason {reason!r} is not encodable as UTF-8") from error
    if length > MAX_REASON:
        raise ValueError(f"close reason has {length} bytes, limit {MAX_REASON}; shorten it")
    return int(code), str(reason)
