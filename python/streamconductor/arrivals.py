"""Receives requests that want to come in · asks `on_connect` and the pool policy · hands the verdict to the native
half and owns the way to it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from .admission import Accept, Reject, header_pairs
from .lifetime import seconds_until
from .policy import ConnectionInfo, PoolPolicy, PoolSnapshot
from .rate_limited import RateLimited

if TYPE_CHECKING:
    from ._core import Request
    from ._core import Server as Native
    from .config import Config
    from .handlers import Handlers
    from .registration import OnConnect

__all__ = ["Arrivals"]

logger = logging.getLogger("streamconductor.admission")

_CANDIDATES = 16


class Arrivals:
    """Decides about requests, one task per request that must wait for an answer."""

    def __init__(
        self, native: Native, config: Config, on_connect: OnConnect | None, policy: PoolPolicy | None
    ) -> None:
        self._native = native
        self.config = config
        self._on_connect = on_connect
        self._policy = policy
        self._log = RateLimited(logger)
        # Those who wait for a verdict.
        self._waiting: set[str] = set()
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        # What `Accept` said of those that have not opened yet.
        self._contexts: dict[str, tuple[Any, frozenset[str]]] = {}
        self.policy_failures = 0

    def arrived(self, identity: str, request: Request, handlers: Handlers) -> None:
        """A request wants to come in."""
        self._waiting.add(identity)
        if self._on_connect is None:
            self._decide(request, Accept(), handlers)
            return
        try:
            verdict = self._on_connect(request)
        except BaseException as error:
            self._raised(request, error)
            return
        if inspect.isawaitable(verdict):
            self._spawn(identity, self._await(request, verdict, handlers), handlers)
        else:
            self._decide(request, verdict, handlers)

    def withdrawn(self, identity: str) -> None:
        """Who asked is gone, or its time is over."""
        self._waiting.discard(identity)
        self._contexts.pop(identity, None)
        if (task := self._tasks.get(identity)) is not None:
            task.cancel()

    def opened(self, identity: str) -> tuple[Any, frozenset[str]]:
        """The context and the channels that `Accept` gave a connection that is open now."""
        return self._contexts.pop(identity, (None, frozenset()))

    def _spawn(self, identity: str, coroutine: Coroutine[Any, Any, None], handlers: Handlers) -> None:
        task = self._tasks[identity] = handlers.spawn(coroutine, f"admission of {identity}")

        def ended(task: asyncio.Task[Any]) -> None:
            # `on_connect` is followed by the policy under the same name.
            if self._tasks.get(identity) is task:
                del self._tasks[identity]

        task.add_done_callback(ended)

    async def _await(self, request: Request, verdict: Any, handlers: Handlers) -> None:
        try:
            answer = await verdict
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._raised(request, error)
        else:
            self._decide(request, answer, handlers)

    def _raised(self, request: Request, error: BaseException) -> None:
        self._log.exception("on_connect raised for %r", request, error=error)
        self._refuse(request, Reject(500))

    def _decide(self, request: Request, verdict: Any, handlers: Handlers) -> None:
        if isinstance(verdict, Reject):
            self._refuse(request, verdict)
        elif not isinstance(verdict, Accept):
            kind = type(verdict).__name__
            self._raised(
                request, TypeError(f"on_connect returned {kind}; return sc.Accept(…) or sc.Reject(…)")
            )
        elif self._policy is None:
            self._admit(request, verdict, None)
        else:
            self._spawn(request.connection_id, self._ask_policy(request, verdict), handlers)

    def _refuse(self, request: Request, verdict: Reject) -> None:
        try:
            self._native.refuse(request, verdict.status, verdict.reason, header_pairs(verdict.headers))
        except Exception as error:
            self._raised(request, error)
        else:
            self._waiting.discard(request.connection_id)

    def _admit(self, request: Request, verdict: Accept[Any], victim: str | None) -> None:
        identity = request.connection_id
        if identity not in self._waiting:
            # Too late: it has been answered, or is gone.
            return
        try:
            if verdict.subprotocol is not None and verdict.subprotocol not in request.subprotocols:
                # An offer that carries a token is none, and the token belongs in no log.
                is_token = verdict.subprotocol.startswith("bearer.")
                shown = "a bearer token" if is_token else repr(verdict.subprotocol)
                raise ValueError(
                    f"Accept.subprotocol is {shown}, which the client does not offer; "
                    "choose one of request.subprotocols, or None"
                )
            channels = self._channels(verdict)
            expires_in = None
            if verdict.expires_at is not None:
                expires_in = seconds_until("Accept.expires_at", verdict.expires_at)
            self._contexts[identity] = (verdict.context, channels)
            self._native.admit(
                request,
                verdict.user,
                expires_in,
                verdict.priority,
                verdict.subprotocol,
                header_pairs(verdict.headers),
                list(channels),
                victim,
            )
        except Exception as error:
            self._contexts.pop(identity, None)
            self._raised(request, error)
        else:
            self._waiting.discard(identity)

    def _channels(self, verdict: Accept[Any]) -> frozenset[str]:
        if isinstance(verdict.subscribe, str):
            raise TypeError(f"Accept.subscribe is a list of channels, write [{verdict.subscribe!r}]")
        channels = frozenset(verdict.subscribe)
        if len(channels) > self.config.max_channels:
            count, limit = len(channels), self.config.max_channels
            raise ValueError(f"Accept.subscribe names {count} channels, max_channels is {limit}")
        return channels

    # The pool policy.

    def snapshot(self) -> PoolSnapshot:
        """How full the server is now."""
        return PoolSnapshot(*self._native.pool())

    async def _ask_policy(self, request: Request, verdict: Accept[Any]) -> None:
        assert self._policy is not None
        try:
            async with asyncio.timeout(self.config.policy_timeout):
                is_welcome, victim = await self._consult(self._policy, request)
        except Exception as error:
            self.policy_failures += 1
            self._log.exception("pool policy failed, policy_fallback decides", error=error)
            self._fall_back(request, verdict)
            return
        if is_welcome:
            self._admit(request, verdict, victim)
        else:
            self._refuse(request, Reject(503, "no room"))

    async def _consult(self, policy: PoolPolicy, request: Request) -> tuple[bool, str | None]:
        snapshot = self.snapshot()
        if not await policy.admit(request, snapshot):
            return False, None
        if request.has_slot or snapshot.occupied < snapshot.max_connections:
            return True, None
        candidates = self._candidates()
        victim = await policy.evict(request, snapshot, candidates)
        if victim is not None and all(victim != one.id for one in candidates):
            raise ValueError(f"PoolPolicy.evict returned {victim!r}, which is none of its candidates")
        return victim is not None, victim

    def _candidates(self) -> list[ConnectionInfo]:
        if self.config.eviction == "reject":
            return []
        # Each shard names its own; together they are in the order of shards.
        views = self._native.views(None, None, None, _CANDIDATES)
        views.sort(key=_ORDERS[self.config.eviction])
        return [info(view) for view in views[:_CANDIDATES]]

    def _fall_back(self, request: Request, verdict: Accept[Any]) -> None:
        victim = None
        if not request.has_slot:
            victim = self._first_to_leave(self.config.policy_fallback, verdict.priority)
        if request.has_slot or victim is not None:
            self._admit(request, verdict, victim)
        else:
            self._refuse(request, Reject(503, "no room"))

    def _first_to_leave(self, order: str, priority: int) -> str | None:
        """The shards sort by `Config.eviction` only; any other order is looked for here."""
        if order == "reject":
            return None
        count = 1 if order == self.config.eviction else None
        views = self._native.views(None, None, None, count)
        first = min(views, key=_ORDERS[order], default=None)
        if first is None or (order == "priority" and first["priority"] >= priority):
            return None
        return first["id"]


# The built-in orders, as the shards have them: the smallest leaves first.
_ORDERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "idle": lambda view: -view["idle_for"],
    "oldest": lambda view: -view["connected_for"],
    "slowest": lambda view: (-view["buffered_amount"], -view["connected_for"]),
    "priority": lambda view: (view["priority"], -view["connected_for"]),
}


def info(view: Mapping[str, Any]) -> ConnectionInfo:
    """A native view as what a policy sees."""
    address = view["remote_address"]
    return ConnectionInfo(
        id=view["id"],
        user=view["user"],
        priority=view["priority"],
        path=view["path"],
        remote_address=None if address is None else address[0],
        connected_for=view["connected_for"],
        idle_for=view["idle_for"],
        buffered_amount=view["buffered_amount"],
    )
