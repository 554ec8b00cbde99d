"""Receives the application's order to start and to stop · hands every other part its beginning and its end · owns the
life of a server.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from . import _core
from .arrivals import Arrivals
from .certificates import Certificates, tls_setting
from .config import Config
from .connection import Connection
from .dispatch import Dispatcher
from .entry_log import EntryLog
from .errors import BindError
from .exit import stop_at_exit
from .handlers import Handlers
from .health import HealthChecks
from .operation import Operation, origins_setting, token_setting
from .policy import PoolPolicy

__all__ = ["Server"]

logger = logging.getLogger("streamconductor.server")

# Called by the native half, where no Python code may run: both are C.
_BLANK = partial(object.__new__, Connection)

# Seconds for handlers that were cancelled, and for the native threads, to end.
_PATIENCE = 5.0


class Server(Operation):
    """A WebSocket server: register routes and hooks, then ``async with server`` or ``sc.run(server)``.

    Args:
        config: every setting; `None`: `Config()`, which reads the environment.
        pool_policy: decides who may enter and who leaves a full pool; `None`: `Config.eviction` does.

    All methods belong to the event loop's thread except `publish_nowait`. After it has stopped it may be started
    again.
    """

    def __init__(self, config: Config | None = None, pool_policy: PoolPolicy | None = None) -> None:
        if config is not None and not isinstance(config, Config):
            raise TypeError(
                f"Server takes a Config, not {type(config).__name__}; write Server(Config(port=8000))"
            )
        super().__init__(config or Config())
        self._pool_policy = pool_policy
        self._failure: str | None = None
        self._failing: asyncio.Task[None] | None = None
        self.admin_port: int | None = None
        """The port of the admin address while it runs; None: there is none."""

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
            ConfigError: a file of `Config.token_keys` holds no key that can be used.
            RuntimeError: it runs already.
            UnsupportedEventLoop: the loop is neither asyncio's nor uvloop's.
        """
        if self._native is not None:
            self._check_process()
        if self._state not in ("not started", "stopped"):
            raise RuntimeError(f"the server is {self._state} already")
        self._adopt_loop()
        self._checks = self._health()
        self._certificates = Certificates(self.config, self._reread_certificates)
        before, self._state = self._state, "starting"
        try:
            settings = await self._settings()
            self._native = _core.Server.start(
                settings, self._loop, self._schedule_uncork, _BLANK, self.config.bearer_cookie
            )
        except BaseException:
            self._state = before
            raise
        stop_at_exit(self)
        self._state = "running"
        self._failure = None
        self._assemble(self._native)
        ready = self._loop.create_future()
        self._main = self._loop.create_task(self._run(ready), name="streamconductor server")
        try:
            await ready
            self._beat()
            await self._start_admin(self._native)
        except BaseException:
            await self.shutdown(0)
            raise
        for warning in self.config.warnings():
            logger.warning("%s", warning)
        logger.info("serving on %s", self._where())

    def _where(self) -> str:
        if self.config.unix_socket is not None:
            return str(self.config.unix_socket)
        return ", ".join(f"{host}:{port}" for host, port in self._running("start").addresses)

    def _health(self) -> HealthChecks:
        checks = HealthChecks(self.config.health_interval, self.config.health_timeout, self._record_verdict)
        for name, check, interval, timeout, required in self._health_checks:
            checks.add(name, check, interval=interval, timeout=timeout, required=required)
        return checks

    def _assemble(self, native: _core.Server) -> None:
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._ending: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._arrivals = Arrivals(native, self.config, self._on_connect, self._pool_policy)
        self._entry_log = EntryLog(self.config)
        self._handlers = Handlers(self._on_close, self._on_backpressure)
        self._dispatcher = Dispatcher(
            native,
            self._routes,
            self._arrivals,
            self._handlers,
            self._entry_log,
            on_birth=self._connect,
            on_room=self._resume_publishers,
            on_failure=self._fail,
            on_reconfigure=self._reconfigure_over_http,
            on_connected=self._connected,
            on_told=self._told,
        )
        self._dispatcher.start(self.config.threads)

    async def _run(self, ready: asyncio.Future[None]) -> None:
        """The server's own task: handlers live in its group, not in that of whoever started the server."""
        async with asyncio.TaskGroup() as group:
            self._handlers.start(group, self.config.handler_timeout)
            self._checks.start(group)
            self._certificates.start(group)
            self._start_feeds()
            ready.set_result(None)
            await asyncio.wait([self._over])
            self._checks.stop()
            self._certificates.stop()
            self._stop_feeds()
            self._handlers.cancel_all()
            # Inside the group, so that `on_close` can still run in it.
            await self._handlers.emptied()

    async def serve_forever(self) -> None:
        """Waits until the server has stopped.

        Raises:
            RuntimeError: a native thread has failed.
        """
        await self.wait_closed()
        if self._failure is not None:
            raise RuntimeError(f"the server failed: {self._failure}")

    async def wait_closed(self) -> None:
        """Waits until the server has stopped; returns at once if it does not run."""
        if self._native is not None:
            await self._stopped.wait()

    async def shutdown(self, grace: float | None = None) -> None:
        """Stops: readiness turns red, upgrades get 503, connections are closed with 1012, spread over the grace.

        Done as soon as the last connection and handler have ended. At the grace, sockets are reset and handlers
        cancelled. Calling it again shortens the grace. The stopping is a task of its own: to cancel this call is to
        wait no longer, and changes nothing of it.

        Args:
            grace: seconds; `None`: `Config.shutdown_grace`.
        """
        if self._native is None:
            return
        native = self._running("shutdown")
        grace = self.config.shutdown_grace if grace is None else grace
        if self._ending is None:
            self._state = "stopping"
            native.depart(self._departure_time(native, grace))
            self._ending = self._loop.create_task(self._end(native))
        # The earliest deadline counts, of however many calls.
        deadline = self._loop.call_later(max(0.0, grace), _settle, self._over)
        self._ending.add_done_callback(lambda _: deadline.cancel())
        await asyncio.shield(self._ending)

    async def _end(self, native: _core.Server) -> None:
        gone = self._loop.create_task(self._until_gone())
        try:
            await asyncio.wait([gone, self._over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Also when the loop itself ends and cancels every task: then what is left is reset at once.
            gone.cancel()
            _settle(self._over)
            await self._stop(native)

    async def _until_gone(self) -> None:
        await asyncio.wait([self._dispatcher.departed])
        await self._handlers.emptied()

    def _departure_time(self, native: _core.Server, grace: float) -> float:
        """The k-th of n goes at k/n of what the grace leaves for closing handshakes, never slower than 100 a second."""
        connections: int = native.pool()[0]
        return max(0.0, min(grace - self.config.close_timeout - 1, connections / 100))

    async def _stop(self, native: _core.Server) -> None:
        native.abandon()
        _, stuck = await asyncio.wait([self._main], timeout=_PATIENCE)
        if stuck:
            self._main.cancel()
            logger.error("tasks did not end within %g s of their cancellation", _PATIENCE)
        self._dispatcher.stop()
        self._end_beat()
        ended = await asyncio.to_thread(native.stop, _PATIENCE)
        if not ended:
            logger.error("native threads did not end within %g s", _PATIENCE)
        self._native, self._state, self.admin_port = None, "stopped", None
        self._resume_publishers()
        self._stopped.set()

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = reason
            logger.critical("the server failed: %s", reason)
            self._failing = self._loop.create_task(self.shutdown(0))

    @property
    def port(self) -> int:
        """The port that is listened on; with `Config.port` 0 the one the system chose. 0 for a Unix socket."""
        addresses = self._running_anywhere("port").addresses
        return addresses[0][1] if addresses else 0

    # What the native half starts with.

    async def _settings(self) -> dict[str, Any]:
        config = self.config
        return {
            "addresses": await self._addresses(),
            "unix_socket": config.unix_socket,
            "backlog": config.backlog,
            "tls": tls_setting(config),
            "threads": config.threads,
            "limits": config.limits(),
            "origins": origins_setting(config),
            "routes": [route.setting(config, bool(self._on_close)) for route in self._routes],
            "channels": [
                {"pattern": pattern, "overflow": overflow, "high_water": high_water}
                for pattern, (overflow, high_water) in self._channels.items()
            ],
            "assets": [
                {"path": path, "content_type": content_type, "content": content}
                for path, (content, content_type) in self._assets.items()
            ],
            "tokens": token_setting(config),
            "asks": self._on_connect is not None or self._pool_policy is not None,
            "has_pool_policy": self._pool_policy is not None,
            "reports_closes": bool(self._on_close),
            "reports_backpressure": bool(self._on_backpressure),
            "beat_interval": self._beat_interval,
            "stall_limit": config.stall_limit,
        }

    async def _addresses(self) -> list[str]:
        config = self.config
        return [] if config.unix_socket else await _resolve(config.host, config.port)

    def _connected(self, connection: Connection[Any], dial: int) -> None:
        """A connection that was opened by us; only an engine opens any."""

    def _told(self, link: int, what: str, *more: Any) -> None:
        """What became of a link; likewise."""

    async def _start_admin(self, native: _core.Server) -> None:
        if self.config.admin_port is not None:
            [address, *_] = await _resolve(self.config.admin_host, self.config.admin_port)
            self.admin_port = native.start_admin(address, self.config.admin_token)

    def _schedule_uncork(self) -> None:
        """Called by the native half once per turn of the loop: the shards are woken behind what runs in it."""
        if self._native is not None:
            self._loop.call_soon(self._native.uncork)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _resolve(host: str, port: int) -> list[str]:
    """Addresses of a host, as ``ip:port``; a name may have several."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(error.errno or 0, f"the name has no address ({error.strerror})", host) from error
    except UnicodeError as error:
        # What no resolver is even asked for, such as a label of more than 63 bytes.
        raise BindError(0, f"the name is none ({error})", host) from error
    addresses = []
    for family, _, _, _, address in found:
        ip, number = cast(tuple[str, int], address[:2])
        text = f"[{ip}]:{number}" if family == socket.AF_INET6 else f"{ip}:{number}"
        if text not in addresses:
            addresses.append(text)
    return addresses
