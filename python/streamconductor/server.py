"""Receives the application's calls and the native half's events · hands each to the part that does it · owns the
life of a server from start to stop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import sys
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from . import _core
from .arrivals import Arrivals
from .config import Config
from .connection import Backpressure, Closed, Connection
from .encoder import encode
from .errors import ConfigError, ForkedProcess, NotRunning, UnsupportedEventLoop
from .exit import stop_at_exit
from .feed import Feed, Source
from .handlers import Handlers
from .health import HealthChecks
from .policy import PoolPolicy, PoolSnapshot
from .registration import Registration

if TYPE_CHECKING:
    from .config_keywords import ConfigKeywords

__all__ = ["Server"]

logger = logging.getLogger("streamconductor.server")

# The sorts of events, as in the native bridge.
(
    _MESSAGE,
    _ARRIVED,
    _WITHDRAWN,
    _OPENED,
    _WRITABLE,
    _BACKPRESSURE,
    _CLOSED,
    _ORIGIN_REFUSED,
    _DEPARTED,
    _ROOM,
    _FAILED,
    _RECONFIGURE,
) = range(12)

# Calls that need not wait still let other tasks run once in so many.
_IN_A_ROW = 64

# Seconds for the native threads to end.
_PATIENCE = 5.0


class Server(Registration):
    """A WebSocket server: register routes and hooks, then ``async with server`` or ``sc.run(server)``.

    Args:
        config: every setting; `None`: `Config()`, which reads the environment.
        pool_policy: decides who may enter and who leaves a full pool; `None`: `Config.eviction` does.

    All methods belong to the event loop's thread except `publish_nowait`. After it has stopped it may be started
    again.
    """

    def __init__(self, config: Config | None = None, pool_policy: PoolPolicy | None = None) -> None:
        super().__init__(config or Config())
        self._pool_policy = pool_policy
        self._native: _core.Server | None = None
        self._process = os.getpid()
        self._state = "not started"
        self._feeds: dict[str, Feed] = {}
        self._room: list[asyncio.Future[None]] = []
        self._publications = 0
        self.admin_port: int | None = None
        """The port of the admin address while it runs; None: there is none."""

    # Life.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown(self.config.shutdown_grace)

    async def start(self) -> None:
        """Binds, starts the shards and serves until `shutdown`.

        Raises:
            BindError: an address cannot be listened on.
            RuntimeError: it runs already.
            UnsupportedEventLoop: the loop is neither asyncio's nor uvloop's.
        """
        self._check_process()
        if self._native is not None:
            raise RuntimeError("the server runs already")
        self._loop = _supported_loop()
        settings = await self._settings()
        native = _core.Server.start(settings, self._schedule_uncork, self._connect, self.config.bearer_cookie)
        self._native = native
        stop_at_exit(self)
        self._state = "running"
        self._departed = self._loop.create_future()
        self._shards_left = self.config.threads
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        self._ending: asyncio.Task[None] | None = None
        self._failure: str | None = None
        self._arrivals = Arrivals(native, self.config, self._on_connect, self._pool_policy)
        self._handlers = Handlers(self._on_close, self._on_backpressure)
        self._checks = HealthChecks(
            self.config.health_interval, self.config.health_timeout, self._record_verdict
        )
        for name, check, interval, timeout, required in self._health_checks:
            self._checks.add(name, check, interval=interval, timeout=timeout, required=required)
        self._loop.add_reader(native.fileno(), self._dispatch)
        ready = self._loop.create_future()
        self._main = self._loop.create_task(self._run(ready), name="streamconductor server")
        self._beat()
        await ready
        try:
            await self._start_admin()
        except BaseException:
            await self.shutdown(0)
            raise
        for warning in self.config.warnings():
            logger.warning("%s", warning)

    async def _run(self, ready: asyncio.Future[None]) -> None:
        """The server's own task: handlers live in its group, not in that of whoever started the server."""
        async with asyncio.TaskGroup() as group:
            self._handlers.start(group, self.config.handler_timeout)
            self._checks.start(group)
            for feed in self._feeds.values():
                self._start_feed(feed)
            ready.set_result(None)
            await asyncio.wait([self._stopping])
            self._checks.stop()
            for feed in self._feeds.values():
                feed.stop()
            self._handlers.cancel_all()

    async def serve_forever(self) -> None:
        """Waits until the server has stopped.

        Raises:
            RuntimeError: a native thread has failed.
        """
        await self.wait_closed()
        if self._failure is not None:
            raise RuntimeError(f"the server failed: {self._failure}")

    async def wait_closed(self) -> None:
        """Waits until the server has stopped; returns at once if it has not been started."""
        if self._native is not None:
            await asyncio.wait([self._stopping])
            if self._ending is not None:
                await asyncio.shield(self._ending)

    async def shutdown(self, grace: float | None = None) -> None:
        """Stops: readiness turns red, upgrades get 503, connections are closed with 1012, spread over the grace.

        Done as soon as the last connection and handler have ended. At the grace, sockets are reset and handlers
        cancelled. Calling it again shortens the grace.

        Args:
            grace: seconds; `None`: `Config.shutdown_grace`.
        """
        native = self._native
        if native is None:
            return
        grace = self.config.shutdown_grace if grace is None else grace
        deadline = self._loop.time() + grace
        if self._state == "running":
            self._state = "stopping"
            native.depart(self._departure_time(native, grace))
        gone = self._loop.create_task(self._until_gone())
        # Another call with less grace ends this wait, too.
        timeout = deadline - self._loop.time()
        await asyncio.wait([gone, self._stopping], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if self._ending is None:
            self._stopping.set_result(None)
            self._ending = self._loop.create_task(self._stop(native))
        # Whoever called it may be cancelled: the stopping goes on.
        await asyncio.shield(self._ending)

    async def _until_gone(self) -> None:
        await asyncio.wait([self._departed])
        await self._handlers.emptied()

    def _departure_time(self, native: _core.Server, grace: float) -> float:
        """The k-th of n goes at k/n of what the grace leaves for closing handshakes, never slower than 100 a second."""
        connections = native.pool()[0]
        return max(0.0, min(grace - self.config.close_timeout - 1, connections / 100))

    async def _stop(self, native: _core.Server) -> None:
        native.abandon()
        self._handlers.cancel_all()
        # One more look at what the shards said, so that every ending is told.
        await asyncio.sleep(0)
        self._dispatch_pending()
        self._loop.remove_reader(native.fileno())
        self._beat_handle.cancel()
        ended = await asyncio.to_thread(native.stop, _PATIENCE)
        if not ended:
            logger.error("native threads did not end within %s s", _PATIENCE)
        await asyncio.wait([self._main])
        self._native, self._state, self.admin_port = None, "stopped", None
        for waiter in self._take_room():
            waiter.cancel()

    @property
    def port(self) -> int:
        """The port that is listened on; with `Config.port` 0 the one the system chose. 0 for a Unix socket."""
        addresses = self._running("port").addresses
        return addresses[0][1] if addresses else 0

    # Publishing.

    async def publish(self, channel: str, payload: object, *, key: str | None = None) -> int:
        """Publishes to everybody subscribed; encoded once. Waits while the home shard's mailbox is above half.

        Args:
            channel: 1 to 255 bytes without control characters.
            payload: `str` as text, bytes-like as binary, anything else as JSON text by `Config.encoder`.
            key: for channels that conflate: a slow reader gets only the newest per key.

        Returns:
            The number of subscribers known at the call.

        Raises:
            MessageTooBig: larger than `Config.max_buffered`; it reached nobody.
            ValueError: a bad name, or NaN in the payload.
            NotRunning: the server does not run.
        """
        native = self._running("publish")
        encoded = self._encode(payload)
        while (subscribers := native.publish(channel, encoded, key, True)) is None:
            await self._until_room()
        self._publications += 1
        if self._publications % _IN_A_ROW == 0:
            await asyncio.sleep(0)
        return subscribers

    def publish_nowait(self, channel: str, payload: object, *, key: str | None = None) -> int:
        """As `publish`, but never waits; may be called from any thread.

        Raises:
            Overloaded: the home shard's mailbox is full; nothing was published.
        """
        subscribers = self._running("publish_nowait").publish(channel, self._encode(payload), key, False)
        return subscribers or 0

    async def broadcast(
        self,
        payload: object,
        *,
        to: Iterable[Connection[Any]] | None = None,
        user: str | None = None,
        exclude: Iterable[Connection[Any]] = (),
    ) -> None:
        """Sends one message to many connections, under `Config.overflow`; encoded once per shard.

        Args:
            payload: as in `publish`.
            to: these connections; `None`: all of `user`, or everybody.
            user: all connections of this user; not together with `to`.
            exclude: not to these.
        """
        if to is not None and user is not None:
            raise ValueError("broadcast takes either `to` or `user`")
        native = self._running("broadcast")
        encoded = self._encode(payload)
        to_ids = None if to is None else [connection.id for connection in to]
        exclude_ids = [connection.id for connection in exclude]
        while not native.broadcast(encoded, to_ids, user, exclude_ids, True):
            await self._until_room()

    def feed(
        self, source: Source, *, name: str | None = None, channel: str | None = None, required: bool = False
    ) -> Feed:
        """Publishes what an async iterable yields, for as long as the server runs.

        It is not read while mailboxes are full. A source that raises is started again with growing random delays if
        it is a callable; it shows in `status()` and as ``feed:<name>`` in `/readyz`.

        Args:
            source: an async iterable, or a callable that returns one, such as an async generator function. It yields
                (channel, payload) or (channel, payload, key), or payloads when `channel` is given.
            name: `None`: the source's own name.
            channel: where all of it goes.
            required: whether `/readyz` turns red while it does not run.
        """
        name = name or getattr(source, "__name__", type(source).__name__)
        for number in itertools.count(2):
            if name not in self._feeds:
                break
            name = f"{name.removesuffix(f'-{number - 1}')}-{number}"
        feed = self._feeds[name] = Feed(self, source, name, channel, required)
        if self._native is not None:
            self._start_feed(feed)
        return feed

    # Connections.

    def connections(
        self, *, user: str | None = None, channel: str | None = None, path: str | None = None
    ) -> list[Connection[Any]]:
        """The open connections, as their shards see them at the call: a snapshot.

        Args:
            user: only this user's.
            channel: only those subscribed to this channel.
            path: only those opened with this path.
        """
        native = self._running("connections")
        native.uncork()
        self._dispatch_pending()
        views = native.views(user, channel, path, None)
        return [self._held(native, view) for view in views]

    def connection(self, id: str) -> Connection[Any] | None:
        """The open connection with this id; None when there is none (any more)."""
        native = self._running("connection")
        found = native.bound(id)
        if found is not None:
            return found
        return next((connection for connection in self.connections() if connection.id == id), None)

    def disconnect(self, *, user: str, reason: str = "disconnected") -> None:
        """Ends all connections of a user with 4403, which tells clients to stay away."""
        self._running("disconnect").disconnect(user, reason)

    def _held(self, native: _core.Server, view: Mapping[str, Any]) -> Connection[Any]:
        found: Connection[Any] | None = native.bound(view["id"])
        if found is None:
            handle = native.hold(view["id"])
            found = Connection(self, handle, None, None, view["user"], None)
            native.bind(view["id"], found)
            self._handlers.opened(found, None)
        return found

    # Operation.

    @property
    def pool(self) -> PoolSnapshot:
        """How full the server is now."""
        return PoolSnapshot(*self._running("pool").pool())

    def status(self) -> dict[str, Any]:
        """What `/status` says, as plain JSON values."""
        status: dict[str, Any] = json.loads(self._running("status").status())
        return status

    def metrics(self) -> str:
        """What `/metrics` says, in OpenMetrics text."""
        return self._running("metrics").metrics()

    def reconfigure(self, **fields: Unpack[ConfigKeywords]) -> None:
        """Changes limits, policies, rates and intervals at once, on every shard.

        Lowering `max_connections` ends connections at a rate, never all at once. A changed `overflow` holds for
        channels that come into being afterwards.

        Raises:
            ConfigError: a field is unknown or malformed, or a promise would be broken; nothing was changed.
            ValueError: a field that cannot be changed while the server runs.
        """
        if fixed := sorted(set(fields) - Config.reconfigurable & set(Config.model_fields)):
            known = [name for name in fixed if name in Config.model_fields]
            if known:
                raise ValueError(f"{', '.join(known)} cannot be changed while the server runs; restart it")
        config = self.config.replace(**fields)
        native = self._running("reconfigure")
        origins = list(config.origins) if isinstance(config.origins, tuple) else config.origins
        native.reconfigure(config.limits(), origins, config.stall_limit)
        self.config = self._arrivals.config = config
        self._handlers.timeout = config.handler_timeout
        self._checks.interval, self._checks.timeout = config.health_interval, config.health_timeout

    # Inside.

    def _running(self, call: str) -> _core.Server:
        self._check_process()
        if self._native is None:
            raise NotRunning(call, self._state)
        return self._native

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ForkedProcess

    def _must_not_run(self, call: str) -> None:
        if getattr(self, "_native", None) is not None:
            raise RuntimeError(f"{call} must be registered before the server starts")

    def _define_channel(self, pattern: str, overflow: str | None, high_water: int | None) -> None:
        if getattr(self, "_native", None) is not None:
            self._running("channel").define_channel(pattern, overflow, high_water)

    def _encode(self, payload: object) -> str | bytes:
        kind = type(payload)
        if kind is str or kind is bytes:
            return payload  # type: ignore[return-value]
        return encode(payload, self.config.encoder)

    def _create_task(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self._handlers.spawn(coroutine, name)

    async def _settings(self) -> dict[str, Any]:
        config = self.config
        return {
            "addresses": [] if config.unix_socket else await _resolve(config.host, config.port),
            "unix_socket": config.unix_socket,
            "backlog": config.backlog,
            "threads": config.threads,
            "limits": config.limits(),
            "origins": list(config.origins) if isinstance(config.origins, tuple) else config.origins,
            "routes": [route.setting(bool(self._on_close)) for route in self._routes],
            "channels": [
                {"pattern": pattern, "overflow": overflow, "high_water": high_water}
                for pattern, (overflow, high_water) in self._channels.items()
            ],
            "assets": [
                {"path": path, "content_type": content_type, "content": content}
                for path, (content, content_type) in self._assets.items()
            ],
            "retry_after": config.retry_after,
            "asks": self._on_connect is not None or self._pool_policy is not None,
            "has_pool_policy": self._pool_policy is not None,
            "reports_closes": bool(self._on_close),
            "reports_backpressure": bool(self._on_backpressure),
            "beat_interval": self._beat_interval,
            "stall_limit": config.stall_limit,
        }

    @property
    def _beat_interval(self) -> float:
        return min(1.0, (self.config.stall_limit or 5.0) / 5)

    def _beat(self) -> None:
        if self._native is not None:
            self._native.beat()
            self._beat_handle = self._loop.call_later(self._beat_interval, self._beat)

    async def _start_admin(self) -> None:
        if self.config.admin_port is None or self._native is None:
            return
        [address, *_] = await _resolve(self.config.admin_host, self.config.admin_port)
        self.admin_port = self._native.start_admin(address, self.config.admin_token)

    def _start_feed(self, feed: Feed) -> None:
        feed._task = self._handlers.spawn(feed._run(), f"feed {feed.name}")

    def _record_feed(self, feed: Feed) -> None:
        if self._native is not None:
            self._native.set_feeds(json.dumps({each.name: each.describe() for each in self._feeds.values()}))
            is_ok = feed.state in ("running", "ended")
            self._record(f"feed:{feed.name}", is_ok, feed.required, feed.error or feed.state, {}, 1e9)

    def _record_verdict(
        self, name: str, ok: bool, required: bool, detail: str, facts: dict[str, Any]
    ) -> None:
        stale_after = self._checks.interval + 2 * self._checks.timeout
        for known, _, interval, timeout, _ in self._health_checks:
            if known == name:
                stale_after = (interval or self._checks.interval) + 2 * (timeout or self._checks.timeout)
        self._record(name, ok, required, detail, facts, stale_after)

    def _record(
        self, name: str, ok: bool, required: bool, detail: str, facts: dict[str, Any], stale_after: float
    ) -> None:
        if self._native is not None:
            state = "ok" if ok and not detail else "degraded" if ok else "failed"
            self._native.record_health(
                name,
                {
                    "state": state,
                    "required": required,
                    "detail": detail,
                    "facts": json.dumps(facts),
                    "stale_after": stale_after,
                },
            )

    async def _until_room(self) -> None:
        waiter = self._loop.create_future()
        self._room.append(waiter)
        await waiter

    def _take_room(self) -> list[asyncio.Future[None]]:
        waiters, self._room = self._room, []
        return [waiter for waiter in waiters if not waiter.done()]

    # Events.

    def _schedule_uncork(self) -> None:
        """Called by the native half once per turn of the loop: the shards are woken behind what runs in it."""
        native = self._native
        if native is not None:
            self._loop.call_soon(native.uncork)

    def _connect(
        self, handle: _core.ConnectionHandle, request: _core.Request, subprotocol: str | None, user: str | None
    ) -> Connection[Any]:
        """Called by the native half for each connection that opens."""
        context, channels = self._arrivals.opened(handle.id)
        connection: Connection[Any] = Connection(self, handle, request, subprotocol, user, context)
        connection._channels = set(channels)
        return connection

    def _dispatch(self) -> None:
        """Takes what the shards said, in one list, and hands each item on."""
        native = self._native
        if native is None:
            return
        flat, is_more = native.drain()
        try:
            items = iter(flat)
            for sort, whom, what in zip(items, items, items, strict=True):
                if sort == _MESSAGE:
                    whom._deliver(what)
                else:
                    self._happened(sort, whom, what)
        finally:
            # Behind the tasks that were resumed above: their sends go out with one wake.
            self._loop.call_soon(native.uncork)
        if is_more:
            self._loop.call_soon(self._dispatch)

    def _dispatch_pending(self) -> None:
        """What has happened already is known after this."""
        self._dispatch()

    def _happened(self, sort: int, whom: Any, what: Any) -> None:
        if sort == _OPENED:
            if isinstance(whom, Connection):
                route = self._routes[what]
                whom._callback = route.callback
                self._handlers.opened(whom, route.handler)
        elif sort == _WRITABLE:
            whom._write()
        elif sort == _CLOSED:
            *facts, ticket = what
            if isinstance(whom, Connection):
                self._handlers.closed(whom, Closed(*facts), ticket)
        elif sort == _ARRIVED:
            self._arrivals.arrived(whom, what, self._handlers)
        elif sort == _WITHDRAWN:
            self._arrivals.withdrawn(whom)
        elif sort == _BACKPRESSURE:
            self._handlers.pressed(whom, Backpressure(*what))
        elif sort == _ROOM:
            for waiter in self._take_room():
                waiter.set_result(None)
        elif sort == _DEPARTED:
            self._shards_left -= 1
            if self._shards_left == 0 and not self._departed.done():
                self._departed.set_result(None)
        elif sort == _ORIGIN_REFUSED:
            logger.warning("origin %r was refused; to allow it: Config(origins=[%r])", what, what)
        elif sort == _RECONFIGURE:
            self._reconfigure_over_http(*what)
        elif sort == _FAILED:
            self._fail(what)

    def _reconfigure_over_http(self, fields: str, answer: _core.Answer) -> None:
        try:
            self.reconfigure(**json.loads(fields))
        except (ConfigError, ValueError, TypeError) as error:
            answer.give(str(error))
        else:
            answer.give(None)

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = reason
            logger.critical("the server failed: %s", reason)
            task = self._loop.create_task(self.shutdown(0))
            self._failing = task


def _supported_loop() -> asyncio.AbstractEventLoop:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        name = "trio" if "trio" in sys.modules else "none"
        raise UnsupportedEventLoop(name) from None
    if not hasattr(loop, "add_reader"):
        raise UnsupportedEventLoop(type(loop).__name__)
    return loop


async def _resolve(host: str, port: int) -> list[str]:
    """Addresses of a host, as ``ip:port``; a name may have several."""
    import socket

    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = []
    for family, _, _, _, address in found:
        text = f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"
        if text not in addresses:
            addresses.append(text)
    return addresses
