"""Receives nothing · hands `on_connect` the two verdicts it may return · owns their fields and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, overload

__all__ = ["Accept", "Context_co", "Reject"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from .lifetime import Moment

    # `Connection` without a parameter is one whose context nobody looks at: every connection is one.
    Context_co = TypeVar("Context_co", covariant=True, default=object)
else:
    # Defaults of type variables are younger than Python 3.11, and only type checkers need this one.
    from typing import TypeVar

    Context_co = TypeVar("Context_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept(Generic[Context_co]):
    """Lets a request in.

    Attributes:
        user: names whose connection it is, for `connections(user=…)`, `broadcast(user=…)` and
            `disconnect(user=…)`; `None`: the one that its bearer token names, else nobody's in particular.
        context: any object of the application; becomes `Connection.context`.
        priority: for `Config.eviction="priority"`: the greater, the longer it stays. Default 0.
        subprotocol: the subprotocol to select, one that the client offers; `None`: the route's choice, the first
            of its list that the client offers.
        subscribe: channels that it is subscribed to from its first moment; the names have 1 to 255 bytes.
        headers: more headers of the 101 response, such as ``Set-Cookie``.
        expires_at: when the connection is closed with 4401, as in `Connection.extend`; `None`: when its bearer token
            says (`Config.token_keys`), else never.
    """

    user: str | None = None
    context: Context_co = None  # type: ignore[assignment]  # an Accept[None] then, as `__init__` says
    priority: int = 0
    subprotocol: str | None = None
    subscribe: Sequence[str] = ()
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    expires_at: Moment | None = None

    if TYPE_CHECKING:
        # An `Accept[User]` cannot be made without its context, so that of a `Connection[User]` is never None.
        @overload
        def __init__(
            self: Accept[None],
            *,
            user: str | None = None,
            priority: int = 0,
            subprotocol: str | None = None,
            subscribe: Sequence[str] = (),
            headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
            expires_at: Moment | None = None,
        ) -> None: ...
        @overload
        def __init__(
            self,
            *,
            context: Context_co,
            user: str | None = None,
            priority: int = 0,
            subprotocol: str | None = None,
            subscribe: Sequence[str] = (),
            headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
            expires_at: Moment | None = None,
        ) -> None: ...
        def __init__(self, **fields: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuses a request.

    Attributes:
        status: HTTP status, 400 to 599.
        reason: the body, one sentence for the person at the other end; empty: the status's own phrase.
        headers: more headers of the response, such as ``WWW-Authenticate``.

    Raises:
        ValueError: the status is out of range.
    """

    status: int = 403
    reason: str = ""
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"status {self.status} does not refuse; choose one from 400 to 599")


def header_pairs(headers: Mapping[str, str] | Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers as pairs, in order."""
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)
