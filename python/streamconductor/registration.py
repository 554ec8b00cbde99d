"""Receives the application's decorators · hands the server its routes, hooks, channels and assets · owns what
must be known before the server starts.
"""

from __future__ import annotations

import inspect
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .admission import Accept, Reject
from .config import Config
from .origins import check_origins
from .units import LARGEST, duration, format_size, size

if TYPE_CHECKING:
    from ._core import Request
    from .config_keywords import DurationLike, OverflowName, SizeLike
    from .connection import Backpressure, Connection
    from .health import Health

__all__ = ["Registration", "Route"]

Handler = Callable[["Connection[Any]"], Awaitable[Any]]
Callback = Callable[["Connection[Any]", str | bytes], Any]
OnConnect = Callable[["Request"], Awaitable[Accept[Any] | Reject] | Accept[Any] | Reject]
OnClose = Callable[["Connection[Any]"], Any]
OnBackpressure = Callable[["Connection[Any]", "Backpressure"], Any]
HealthCheck = Callable[[], "Awaitable[Health] | Health"]

# A decorator hands back the very function, so its type stays what the application wrote.
HandlerT = TypeVar("HandlerT", bound=Handler)
CallbackT = TypeVar("CallbackT", bound=Callback)
OnConnectT = TypeVar("OnConnectT", bound=OnConnect)
OnCloseT = TypeVar("OnCloseT", bound=OnClose)
OnBackpressureT = TypeVar("OnBackpressureT", bound=OnBackpressure)
HealthCheckT = TypeVar("HealthCheckT", bound=HealthCheck)

_STATIC = Path(__file__).parent / "static"

_DEFAULT: Any = object()


@dataclass(frozen=True, slots=True)
class Route:
    """One path and what is done with its connections."""

    pattern: str
    handler: Handler | None
    callback: Callback | None
    subprotocols: tuple[str, ...] | None
    origins: tuple[str, ...] | str | None
    has_origins: bool
    heartbeat_message: str | None

    @property
    def receives(self) -> bool:
        """Whether messages from the peer go anywhere."""
        return self.handler is not None or self.callback is not None

    def setting(self, config: Config, is_held: bool) -> dict[str, Any]:
        """What the native half must know of it.

        Args:
            config: decides what the route leaves open; the command line may have changed it since the registration.
            is_held: Python holds its connections whatever it does with them.
        """
        subprotocols = config.subprotocols if self.subprotocols is None else self.subprotocols
        heartbeat = config.heartbeat_message if self.heartbeat_message is _DEFAULT else self.heartbeat_message
        return {
            "pattern": self.pattern,
            "subprotocols": list(subprotocols),
            "has_origins": self.has_origins,
            "origins": list(self.origins) if isinstance(self.origins, tuple) else self.origins,
            "receives": self.receives,
            "is_asked": self.handler is not None,
            "held": self.receives or is_held,
            "heartbeat_message": heartbeat,
        }


class Registration:
    """What the application registers on a server."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config
        self._routes: list[Route] = []
        self._on_connect: OnConnect | None = None
        self._on_close: list[OnClose] = []
        self._on_backpressure: list[OnBackpressure] = []
        self._health_checks: list[tuple[str, HealthCheck, float | None, float | None, bool]] = []
        self._channels: dict[str, tuple[str | None, int | None]] = {}
        self._assets: dict[str, tuple[bytes, str]] = {}
        self.asset("/streamconductor.js", _STATIC / "streamconductor.js", "text/javascript; charset=utf-8")
        # Browsers do not ask for it; editors and bundlers do. There is no media type of its own.
        self.asset("/streamconductor.d.ts", _STATIC / "streamconductor.d.ts", "text/plain; charset=utf-8")

    def route(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] | None = None,
        origins: Sequence[str] | str | None = _DEFAULT,
        heartbeat_message: str | None = _DEFAULT,
    ) -> Callable[[HandlerT], HandlerT]:
        """Decorates a coroutine function that is run once per connection.

        Returning closes the connection with 1000; raising closes it with 1011 and logs the exception. When the
        peer is gone the handler is not cancelled: its next await on the connection raises ConnectionClosed;
        `Config.handler_timeout` later it is cancelled.

        Args:
            path: literal segments, ``{name}`` (one segment) or, at the end, ``{name:path}`` (the rest).
            subprotocols: what the route speaks, the preferred first; `None`: `Config.subprotocols`.
            origins: overrides `Config.origins` for this route.
            heartbeat_message: overrides `Config.heartbeat_message` for this route.

        Raises:
            TypeError: the handler is no coroutine function.
            RuntimeError: the server runs already.
            ValueError: an origin that could never match.
            ValueError: at start, a pattern that cannot be a path.
        """
        _check_path("route", path)

        def register(handler: HandlerT) -> HandlerT:
            if not inspect.iscoroutinefunction(_innermost(handler)):
                raise TypeError(
                    f"route({path!r}) needs an `async def` with one parameter, the connection; "
                    "for a plain function per message use on_message"
                )
            self._add_route(path, handler, None, subprotocols, origins, heartbeat_message)
            return handler

        return register

    def on_message(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] | None = None,
        origins: Sequence[str] | str | None = _DEFAULT,
        heartbeat_message: str | None = _DEFAULT,
    ) -> Callable[[CallbackT], CallbackT]:
        """Decorates a plain function that is called with (connection, message) for each message: the cheap form,
        without a task per connection. Raising closes that connection with 1011.

        Arguments and errors are those of `route`; an ``async def`` is refused, for nobody would await it.
        """
        _check_path("on_message", path)

        def register(callback: CallbackT) -> CallbackT:
            if inspect.iscoroutinefunction(_innermost(callback)):
                raise TypeError(
                    f"on_message({path!r}) takes a plain function; for an `async def` use route({path!r})"
                )
            self._add_route(path, None, callback, subprotocols, origins, heartbeat_message)
            return callback

        return register

    def push(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] | None = None,
        origins: Sequence[str] | str | None = _DEFAULT,
        heartbeat_message: str | None = _DEFAULT,
    ) -> None:
        """Opens a path whose connections only receive: what `Accept.subscribe` subscribes them to, and broadcasts.
        No Python object exists for them unless `on_close` is registered, so each costs least. A message from the
        peer closes it with 1003.

        Arguments are those of `route`.
        """
        _check_path("push", path)
        self._add_route(path, None, None, subprotocols, origins, heartbeat_message)

    def on_connect(self, function: OnConnectT) -> OnConnectT:
        """Decorates the function, async or plain, that decides who comes in: called with the `Request`, returns
        `Accept` or `Reject`. Runs within `Config.open_timeout`; raising is answered with 500, being late with 503.
        Without one everybody comes in.
        """
        self._must_not_run("on_connect")
        if self._on_connect is not None:
            raise RuntimeError("on_connect is registered already; there is one for the whole server")
        self._on_connect = function
        return function

    def on_close(self, function: OnCloseT) -> OnCloseT:
        """Decorates a function, async or plain, that is called with each connection that has ended, once, after its
        handler; `connection.closed` says how.
        """
        self._must_not_run("on_close")
        self._on_close.append(function)
        return function

    def on_backpressure(self, function: OnBackpressureT) -> OnBackpressureT:
        """Decorates a plain function that is called with (connection, `Backpressure`) when a connection crosses high
        or low water or messages were dropped; at most once a second per connection.
        """
        self._must_not_run("on_backpressure")
        if inspect.iscoroutinefunction(_innermost(function)):
            raise TypeError("on_backpressure takes a plain function; start a task in it if it must wait")
        self._on_backpressure.append(function)
        return function

    def on_health(
        self,
        name: str,
        *,
        interval: DurationLike | None = None,
        timeout: DurationLike | None = None,
        required: bool = False,
    ) -> Callable[[HealthCheckT], HealthCheckT]:
        """Decorates a health check, async or plain, that returns a `Health`.

        Args:
            name: its name in `/readyz` and `/status`.
            interval: seconds between two runs, or text such as ``"5s"``; `None`: `Config.health_interval`.
            timeout: seconds one run may take, or text; `None`: `Config.health_timeout`.
            required: whether a failed or stale verdict turns `/readyz` red.

        Raises:
            ValueError: a duration that is none, or not above 0.
        """
        self._must_not_run("on_health")
        _check_path("on_health", name, example="database")
        call = f"on_health({name!r})"
        own_interval = None if interval is None else _read(call, "interval", interval, duration)
        own_timeout = None if timeout is None else _read(call, "timeout", timeout, duration)

        def register(check: HealthCheckT) -> HealthCheckT:
            self._health_checks.append((name, check, own_interval, own_timeout, required))
            return check

        return register

    def channel(
        self, pattern: str, *, overflow: OverflowName | None = None, high_water: SizeLike | None = None
    ) -> None:
        """Sets what a channel does with slow readers.

        Args:
            pattern: a name in which ``*`` stands for any run of characters; the longest pattern wins.
            overflow: ``disconnect``, ``drop_oldest``, ``drop_newest`` or ``conflate``; `None`: `Config.overflow`.
            high_water: the channel's own mark in bytes, compared with its own pending bytes on a connection;
                `None`: `Config.high_water`, compared with all pending bytes of the connection.

        Holds for channels that come into being afterwards.

        Raises:
            TypeError: the pattern is no `str`.
            ValueError: an overflow policy that is unknown, or a `high_water` that is no size, or below 1.
        """
        _check_path("channel", pattern, example="prices:*")
        if overflow is not None and overflow not in ("disconnect", "drop_oldest", "drop_newest", "conflate"):
            raise ValueError(
                f"overflow {overflow!r} is unknown; choose disconnect, drop_oldest, drop_newest or conflate"
            )
        mark = None
        if high_water is not None:
            mark = int(_read(f"channel({pattern!r})", "high_water", high_water, size))
            if mark > LARGEST:
                raise ValueError(
                    f"channel({pattern!r}): high_water = {high_water!r} must be at most {format_size(LARGEST)}"
                )
        # In this order: what the native half refuses must not be remembered until the next start.
        self._define_channel(pattern, overflow, mark)
        self._channels[pattern] = (overflow, mark)

    def asset(self, path: str, content: bytes | Path, content_type: str | None = None) -> None:
        """Serves a small static file on the main port, at most 1 MiB; for a page that belongs to the streams.

        Args:
            path: the exact path.
            content: the bytes, or a file that is read now.
            content_type: its media type; `None`: guessed from the path.
        """
        self._must_not_run("asset")
        data = content.read_bytes() if isinstance(content, Path) else bytes(content)
        guessed = content_type or mimetypes.guess_type(path)[0] or "application/octet-stream"
        self._assets[path] = (data, guessed)

    def _add_route(
        self,
        path: str,
        handler: Handler | None,
        callback: Callback | None,
        subprotocols: Sequence[str] | None,
        origins: Sequence[str] | str | None,
        heartbeat_message: str | None,
    ) -> None:
        self._must_not_run("route")
        has_origins = origins is not _DEFAULT
        listed = None if not has_origins or origins is None else origins
        if listed in (["*"], ("*",)):
            listed = "*"
        try:
            check_origins(listed)
        except ValueError as error:
            raise ValueError(f"route {path!r}: origins: {error}") from None
        self._routes.append(
            Route(
                pattern=path,
                handler=handler,
                callback=callback,
                subprotocols=None if subprotocols is None else tuple(subprotocols),
                origins=listed if listed is None or isinstance(listed, str) else tuple(listed),
                has_origins=has_origins,
                heartbeat_message=heartbeat_message,
            )
        )

    def _must_not_run(self, call: str) -> None:
        """Overridden by the server: raises when it runs already."""

    def _define_channel(self, pattern: str, overflow: str | None, high_water: int | None) -> None:
        """Overridden by the server: tells the native half while it runs."""


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind partials and callable objects."""
    while hasattr(function, "func"):
        function = function.func
    is_plain = inspect.isfunction(function) or inspect.ismethod(function) or not callable(function)
    return function if is_plain else type(function).__call__


def _read(call: str, name: str, value: object, read: Callable[[object], float]) -> float:
    """A size or a duration as people write it, above 0; an error says where it stands."""
    try:
        number = read(value)
    except ValueError as error:
        raise ValueError(f"{call}: {name} = {value!r} {error}") from None
    if number <= 0:
        raise ValueError(f"{call}: {name} = {value!r} must be above 0; leave it out for the default")
    return number


def _check_path(call: str, path: object, example: str = "/…") -> None:
    """The decorator was used without parentheses, or with something that is no text."""
    if not isinstance(path, str):
        raise TypeError(f"{call} needs a str, not {type(path).__name__}; write @server.{call}({example!r})")
