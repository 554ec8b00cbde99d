"""Receives refusals from the shards · hands `logging` a line for the first of each kind, and how many came behind it ·
owns how loud each is, and that no line names more of a client than `Config.address_privacy` allows.
"""

from __future__ import annotations

import logging
import time

from .config import Config
from .privacy import shown_address

__all__ = ["EntryLog"]

logger = logging.getLogger("streamconductor.admission")

_PAUSE = 10.0
"""Seconds between two lines of one kind; the shards, each for itself, tell of no more either."""


class EntryLog:
    """Says who was kept out, in lines that nobody outside can multiply."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._told: dict[str, float] = {}
        self._left_out: dict[str, int] = {}
        self._has_told_of_forwarding = False

    def refused(self, outcome: str, status: int, reason: str, address: str | None, others: int) -> None:
        """Handshakes were refused.

        Args:
            outcome: a name of those that `/status` counts.
            status: the HTTP status.
            reason: the server's own; empty: the application's, which it may log itself.
            address: of the first one's client; `None`: it came over a Unix socket.
            others: how many more were refused for the like since the shard's last word.
        """
        self._left_out[outcome] = others = self._left_out.get(outcome, 0) + others
        now = time.monotonic()
        if now - self._told.get(outcome, -_PAUSE) < _PAUSE:
            self._left_out[outcome] += 1
            return
        self._told[outcome] = now
        self._left_out[outcome] = 0
        # What the operator can mend is a warning; what the internet always sends is not.
        level = logging.WARNING if status >= 500 or status == 429 or outcome == "origin" else logging.INFO
        logger.log(
            level,
            "refused a handshake from %s with %d: %s%s",
            shown_address(address, self.config.address_privacy),
            status,
            reason or "on_connect said so",
            f"; {others} more ({outcome}) since the last such line" if others else "",
        )

    def forwarding_ignored(self, address: str | None) -> None:
        """A peer that is not trusted sent a header of proxies; worth one line in a server's life."""
        if self._has_told_of_forwarding:
            return
        self._has_told_of_forwarding = True
        form = self.config.address_privacy
        shown = shown_address(address, form)
        entry = "unix" if address is None else "<its network>" if form == "hash" else shown
        logger.warning(
            "ignored Forwarded or X-Forwarded-* headers from %s, which trusted_proxies does not list; if that is your "
            "proxy: Config(trusted_proxies=[%r]), else clients of it count as one address",
            shown,
            entry,
        )
