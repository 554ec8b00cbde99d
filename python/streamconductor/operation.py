"""Receives verdicts and questions about the server's state · hands both to the native half · owns what an operator
may ask and change while it runs.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Unpack

from .config import Config
from .directory import Directory
from .errors import ConfigError
from .policy import PoolSnapshot

if TYPE_CHECKING:
    from . import _core
    from .certificates import Certificates
    from .config_keywords import ConfigKeywords
    from .feed import Feed
    from .health import HealthChecks

__all__ = ["Operation"]

# Verdicts of feeds never become stale: a feed tells of every change.
_FOR_EVER = 1e9


class Operation(Directory):
    """What an operator sees and changes."""

    _checks: HealthChecks
    _certificates: Certificates
    _beat_handle: asyncio.TimerHandle | None = None

    @property
    def pool(self) -> PoolSnapshot:
        """How full the server is now."""
        return PoolSnapshot(*self._running("pool").pool())

    def status(self) -> dict[str, Any]:
        """What `/status` says, as plain JSON values."""
        native = self._running("status")
        self._tell_feeds()
        status: dict[str, Any] = json.loads(native.status())
        return status

    def metrics(self) -> str:
        """What `/metrics` says, in OpenMetrics text."""
        return self._running("metrics").metrics()

    def reconfigure(self, **fields: Unpack[ConfigKeywords]) -> None:
        """Changes limits, policies, rates and intervals at once, on every shard.

        Lowering `max_connections` ends connections at a rate, never all at once. A changed `overflow` holds for
        channels that come into being afterwards.

        Args:
            fields: the keywords of `Config` that `Config.reconfigurable` names; the others stay as they are.

        Raises:
            ConfigError: a field is unknown or malformed, or a promise would be broken; nothing was changed.
            ValueError: a field that cannot be changed while the server runs.
        """
        native = self._running("reconfigure")
        if fixed := sorted((set(fields) & set(Config.model_fields)) - Config.reconfigurable):
            raise ValueError(f"{', '.join(fixed)} cannot be changed while the server runs; restart it")
        config = self.config.replace(**fields)
        native.reconfigure(config.limits(), origins_setting(config), config.stall_limit)
        self.config = self._arrivals.config = config
        self._handlers.timeout = config.handler_timeout
        self._checks.interval, self._checks.timeout = config.health_interval, config.health_timeout

    def reload_certificates(self) -> None:
        """Reads the files of `Config.tls_certificate`, `tls_key` and `tls_client_authorities` anew. Handshakes from now
        on use what is in them; open connections stay as they are. Without TLS there is nothing to read.

        Changed files are found within a second without this call, and so they are after SIGHUP on the command line.

        Raises:
            ConfigError: a file cannot be used; what was in force stays, and `tls_reload_failures_total` counts it.
        """
        self._running("reload_certificates")
        self._certificates.reload()

    def _reread_certificates(self) -> None:
        # Read once: the loop's thread may be stopping it meanwhile.
        native = self._native
        if native is not None:
            native.reload_certificates()

    def _reconfigure_over_http(self, fields: str, answer: _core.Answer) -> None:
        """What the admin address was asked to change, as JSON text of an object."""
        try:
            self.reconfigure(**json.loads(fields))
        except (ConfigError, ValueError, TypeError) as error:
            answer.give(str(error))
        else:
            answer.give(None)

    # Verdicts.

    def _record_feed(self, feed: Feed) -> None:
        state = "ok" if feed.state in ("running", "ended") else "failed"
        self._record(f"feed:{feed.name}", state, feed.required, feed.error or feed.state, {}, _FOR_EVER)

        self._tell_feeds()

    def _tell_feeds(self) -> None:
        """What `/status` says of them: their counts are as old as the last beat."""
        if self._native is not None and self._feeds:
            self._native.set_feeds(json.dumps({name: feed.describe() for name, feed in self._feeds.items()}))

    def _record_verdict(
        self, name: str, ok: bool, required: bool, detail: str, facts: dict[str, Any]
    ) -> None:
        state = "ok" if ok and not detail else "degraded" if ok else "failed"
        interval, timeout = self._checks.interval, self._checks.timeout
        for known, _, own_interval, own_timeout, _ in self._health_checks:
            if known == name:
                interval, timeout = own_interval or interval, own_timeout or timeout
        self._record(name, state, required, detail, facts, interval + 2 * timeout)

    def _record(
        self, name: str, state: str, required: bool, detail: str, facts: dict[str, Any], stale_after: float
    ) -> None:
        if self._native is not None:
            verdict = {
                "state": state,
                "required": required,
                "detail": detail,
                "facts": json.dumps(facts),
                "stale_after": stale_after,
            }
            self._native.record_health(name, verdict)

    # The sign of life that tells a stalled loop from a running one.

    @property
    def _beat_interval(self) -> float:
        return min(1.0, self.config.stall_limit / 5)

    def _beat(self) -> None:
        if self._native is not None:
            self._native.beat()
            self._tell_feeds()
            self._beat_handle = self._loop.call_later(self._beat_interval, self._beat)

    def _end_beat(self) -> None:
        if self._beat_handle is not None:
            self._beat_handle.cancel()


def origins_setting(config: Config) -> list[str] | str | None:
    """`Config.origins` as the native half takes it."""
    return list(config.origins) if isinstance(config.origins, tuple) else config.origins
