"""Receives requests that want to come in · asks `on_connect` and the pool policy · hands the verdict to the native
half and owns the way to it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

from .admission import Accept, Reject, header_pairs
from .policy import ConnectionInfo, PoolPolicy, PoolSnapshot

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

    def __init__(self, native: Native, config: Config, on_connect: OnConnect | None, policy: PoolPolicy | None) -> None:
        self._native = native
        self.config = config
        self._on_connect = on_connect
        self._policy = policy
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        # What `Accept` said of those that have not opened yet.
        self._contexts: dict[str, tuple[Any, frozenset[str]]] = {}
        self.policy_failures = 0

    def arrived(self, identity: str, request: Request, handlers: Handlers) -> None:
        """A request wants to come in."""
        if self._on_connect is None:
            self._decide(request, Accept(), handlers)
            return
        try:
            verdict = self._on_connect(request)
        except Exception as error:
            self._raised(request, error)
            return
        if inspect.isawaitable(verdict):
            task = handlers.spawn(self._await(request, verdict, handlers), f"on_connect of {identity}")
            self._tasks[identity] = task
            task.add_done_callback(lambda _: self._tasks.pop(identity, None))
        else:
            self._decide(request, verdict, handlers)

    def withdrawn(self, identity: str) -> None:
        """Who asked is gone, or its time is over."""
        self._contexts.pop(identity, None)
        if (task := self._tasks.get(identity)) is not None:
            task.cancel()

    def opened(self, identity: str) -> tuple[Any, frozenset[str]]:
        """The context and the channels that `Accept` gave a connection that is open now."""
        return self._contexts.pop(identity, (None, frozenset()))

    async def _await(self, request: Request, verdict: Any, handlers: Handlers) -> None:
        try:
            answer = await verdict
        except Exception as error:
            self._raised(request, error)
        else:
            self._decide(request, answer, handlers)

    def _raised(self, request: Request, error: BaseException) -> None:
        logger.error("on_connect raised for %r", request, exc_info=error)
        self._native.refuse(request, 500, "", [])

    def _decide(self, request: Request, verdict: Any, handlers: Handlers) -> None:
        if isinstance(verdict, Reject):
            self._refuse(request, verdict)
        elif not isinstance(verdict, Accept):
            kind = type(verdict).__name__
            self._raised(request, TypeError(f"on_connect returned {kind}; return sc.Accept(…) or sc.Reject(…)"))
        elif self._policy is None:
            self._admit(request, verdict, None)
        else:
            identity = request.connection_id
            task = handlers.spawn(self._ask_policy(request, verdict), f"pool policy for {identity}")
            self._tasks[identity] = task
            task.add_done_callback(lambda _: self._tasks.pop(identity, None))

    def _refuse(self, request: Request, verdict: Reject) -> None:
        try:
            self._native.refuse(request, verdict.status, verdict.reason, header_pairs(verdict.headers))
        except ValueError as error:
            self._raised(request, error)

    def _admit(self, request: Request, verdict: Accept[Any], victim: str | None) -> None:
        channels = frozenset(verdict.subscribe)
        if len(channels) > self.config.max_channels:
            count, limit = len(channels), self.config.max_channels
            self._raised(request, ValueError(f"Accept.subscribe names {count} channels, max_channels is {limit}"))
            return
        identity = request.connection_id
        self._contexts[identity] = (verdict.context, channels)
        try:
            self._native.admit(
                request,
                verdict.user,
                verdict.priority,
                verdict.subprotocol,
                header_pairs(verdict.headers),
                list(channels),
                victim,
            )
        except (ValueError, TypeError) as error:
            del self._contexts[identity]
            self._raised(request, error)

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
            logger.error("pool policy failed, policy_fallback decides", exc_info=error)
            self._fall_back(request, verdict)
            return
        if is_welcome:
            self._admit(request, verdict, victim)
        else:
            self._native.refuse(request, 503, "no room", [])

    async def _consult(self, policy: PoolPolicy, request: Request) -> tuple[bool, str | None]:
        snapshot = self.snapshot()
        if not await policy.admit(request, snapshot):
            return False, None
        if request.has_slot or snapshot.occupied < snapshot.max_connections:
            return True, None
        candidates = [info(view) for view in self._native.views(None, None, None, _CANDIDATES)]
        victim = await policy.evict(request, snapshot, candidates[:_CANDIDATES])
        return victim is not None, victim

    def _fall_back(self, request: Request, verdict: Accept[Any]) -> None:
        if request.has_slot:
            self._admit(request, verdict, None)
        elif self.config.policy_fallback == "reject":
            self._native.refuse(request, 503, "no room", [])
        else:
            first = self._native.views(None, None, None, 1)
            self._admit(request, verdict, first[0]["id"] if first else None)


def info(view: dict[str, Any]) -> ConnectionInfo:
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
