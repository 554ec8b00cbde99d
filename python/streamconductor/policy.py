"""Receives a newcomer's request and the state of the pool · hands back who may enter and who leaves · owns
the seam for policies of the application; the built-in orders are the core's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["ConnectionInfo", "PoolPolicy", "PoolSnapshot"]


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """How full the server was at one instant."""

    occupied: int
    """Slots taken: connections, and handshakes that hold a slot."""
    max_connections: int
    """Slots there are, `Config.max_connections`."""
    pending: int
    """Pending places taken: sockets that are not, or no longer, connections."""
    max_pending: int
    """Pending places there are, `Config.max_pending`."""
    memory_used: int
    """Bytes of real memory in all buffers."""
    memory_budget: int
    """Bytes they may take together, `Config.memory_budget`."""

    @property
    def utilisation(self) -> float:
        """The part of the slots that is taken, 0 to 1."""
        return self.occupied / self.max_connections


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One connection as a candidate for eviction: plain values, no live connection."""

    id: str
    """What `PoolPolicy.evict` returns to choose it."""
    user: str | None
    """The user it was accepted for, `None` if for nobody in particular."""
    priority: int
    """The priority it was accepted with."""
    path: str
    """The path of its request, without the query."""
    remote_address: str | None
    """The address of its client, as in `Request.remote_address`; `None` on a Unix socket."""
    connected_for: float
    """Seconds since it opened."""
    idle_for: float
    """Seconds since the last application message either way."""
    buffered_amount: int
    """Bytes pending for it."""


class PoolPolicy:
    """Decides who may enter, and who leaves a full pool; override either method.

    Both run after `on_connect` accepted the newcomer, on the event loop, within `Config.policy_timeout`. One
    that raises or is late is logged and counted, and `Config.policy_fallback` decides instead.
    """

    # `request` is the server's Request; typed as Any so that overriding it with the exact type is sound.
    async def admit(self, request: Any, pool: PoolSnapshot) -> bool:
        """Whether the newcomer may have a slot, if one is free or can be made; `False` is answered with 503.

        Args:
            request: the request that `on_connect` accepted.
            pool: how full the server is.

        Returns:
            `True` by default: whoever `on_connect` accepts may enter.
        """
        return True

    async def evict(
        self, request: Any, pool: PoolSnapshot, candidates: Sequence[ConnectionInfo]
    ) -> str | None:
        """Which connection leaves so that the newcomer can enter; asked only when no slot is free.

        Args:
            request: the request that `on_connect` accepted.
            pool: how full the server is.
            candidates: at most 16 connections, the first to leave by `Config.eviction` first; none with
                `reject`.

        Returns:
            The `id` of a candidate, which is closed with 1013, or `None`: nobody leaves and the newcomer is
            answered with 503. By default the first candidate, which is the built-in order.
        """
        return candidates[0].id if candidates else None
