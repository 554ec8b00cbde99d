"""Receives checks from the application · hands verdicts to readiness and status · owns when each check runs,
how long it may take and what its last verdict was.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from .encoder import encode

__all__ = ["Check", "Health", "HealthChecks", "OnVerdict"]

logger = logging.getLogger("streamconductor.health")


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found; made by `Health.ok`, `Health.degraded` and `Health.failed`."""

    status: Literal["ok", "degraded", "failed"]
    """`failed` turns readiness red where the check is required; `degraded` shows in the status only."""
    reason: str = ""
    """Why it is not ok."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, shown in the status as it stands: keep secrets out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))

    @classmethod
    def ok(cls, **facts: Any) -> Health:
        """All is well; `facts` are what was measured, by name, as JSON values."""
        return cls("ok", "", facts)

    @classmethod
    def degraded(cls, reason: str, **facts: Any) -> Health:
        """It works, but not as it should, for a `reason`; readiness stays green. `facts` as in `ok`."""
        return cls("degraded", reason, facts)

    @classmethod
    def failed(cls, reason: str, **facts: Any) -> Health:
        """It does not work, for a `reason`. `facts` as in `ok`."""
        return cls("failed", reason, facts)


CheckFunction = Callable[[], Health | Awaitable[Health]]
OnVerdict = Callable[[str, bool, bool, str, dict[str, Any]], None]
"""Called as `(name, ok, required, detail, facts)`; `facts` are plain JSON values."""


@dataclass(slots=True)
class Check:
    """One check and its last verdict."""

    name: str
    function: CheckFunction
    required: bool
    interval: float | None
    timeout: float | None
    verdict: Health | None = None
    ran_at: float | None = None
    """Unix time at which the last run ended."""
    ended: float | None = None
    """The same on the loop's clock."""
    duration: float = 0.0
    """Seconds that the last run took."""
    consecutive_failures: int = 0
    task: asyncio.Task[None] | None = None


class HealthChecks:
    """The checks of one server, each in a task of its own, so that a hung one delays no other.

    Args:
        interval: seconds from the end of one run to the start of the next, for checks without their own;
            `Config.health_interval`. May be changed while checks run.
        timeout: seconds that one run may take, for checks without their own; `Config.health_timeout`. A run
            that takes longer is cancelled and counts as failed.
        on_verdict: called on the loop after every run, and once per check at the start with "has not run
            yet".
    """

    def __init__(self, interval: float, timeout: float, on_verdict: OnVerdict | None = None) -> None:
        self.interval = interval
        self.timeout = timeout
        self._on_verdict = on_verdict
        self._checks: dict[str, Check] = {}
        self._group: asyncio.TaskGroup | None = None
        self._clock: Callable[[], float] = time.monotonic

    def add(
        self,
        name: str,
        function: CheckFunction,
        *,
        interval: float | None = None,
        timeout: float | None = None,
        required: bool = False,
    ) -> None:
        """Registers a check; one that is added while the others run starts at once.

        Args:
            name: how it is called in the status; unique.
            function: returns a `Health`. An async function is cancelled at its timeout; a plain one runs on
                the loop and must not block: what took longer than its timeout has failed, though it was
                waited for.
            interval: seconds between two runs; `None`: the common one.
            timeout: seconds that a run may take; `None`: the common one.
            required: whether failing turns readiness red.

        Raises:
            ValueError: the name is taken, or a duration is not above 0.
        """
        if name in self._checks:
            raise ValueError(f"health check {name!r} exists already; choose another name")
        for key, value in (("interval", interval), ("timeout", timeout)):
            if value is not None and not value > 0:
                raise ValueError(f"health check {name!r}: {key} is {value}, must be above 0")
        check = self._checks[name] = Check(name, function, required, interval, timeout)
        if self._group is not None:
            self._begin(check, self._group)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Starts every check as a task of `group`; nothing that a check raises ever reaches the group."""
        self._group = group
        self._clock = asyncio.get_running_loop().time
        for check in self._checks.values():
            self._begin(check, group)

    def stop(self) -> None:
        """Cancels the tasks; the last verdicts stay."""
        self._group = None
        for check in self._checks.values():
            if check.task is not None:
                check.task.cancel()
                check.task = None

    def stale_after(self, check: Check) -> float:
        """Seconds after which a verdict says nothing any more: interval + 2 × timeout."""
        interval = self.interval if check.interval is None else check.interval
        timeout = self.timeout if check.timeout is None else check.timeout
        return interval + 2 * timeout

    def report(self) -> dict[str, Any]:
        """What the status shows: the common verdict, and each check by name. Plain JSON values.

        `ok` is false while a required check failed, has not run yet, or is stale.
        """
        now = self._clock()
        checks = {check.name: self._describe(check, now) for check in self._checks.values()}
        return {
            "ok": all(entry["ok"] or not entry["required"] for entry in checks.values()),
            "checks": checks,
        }

    def _describe(self, check: Check, now: float) -> dict[str, Any]:
        age = None if check.ended is None else now - check.ended
        stale = age is not None and age > self.stale_after(check)
        verdict = check.verdict
        return {
            "ok": verdict is not None and verdict.status != "failed" and not stale,
            "required": check.required,
            "status": "pending" if verdict is None else "stale" if stale else verdict.status,
            "reason": "has not run yet" if verdict is None else verdict.reason,
            "facts": {} if verdict is None else _plain_facts(verdict.facts),
            "ran_at": check.ran_at,
            "age": age,
            "duration": check.duration,
            "consecutive_failures": check.consecutive_failures,
        }

    def _begin(self, check: Check, group: asyncio.TaskGroup) -> None:
        if check.verdict is None:
            self._tell(check, False, "has not run yet", {})
        check.task = group.create_task(self._repeat(check), name=f"health check {check.name}")

    async def _repeat(self, check: Check) -> None:
        task = asyncio.current_task()
        # A check may have swallowed the cancellation that `stop` sent; then the task ends after its run.
        while True:
            await self._run(check)
            if task is not None and task.cancelling():
                return
            await asyncio.sleep(self.interval if check.interval is None else check.interval)

    async def _run(self, check: Check) -> None:
        timeout = self.timeout if check.timeout is None else check.timeout
        began = self._clock()
        verdict, error = await _ask(check.function, timeout)
        check.ended, check.ran_at = self._clock(), time.time()
        check.duration = check.ended - began
        if verdict.status != "failed" and check.duration > timeout:
            # A plain function, or an async one that blocked or swallowed its cancellation.
            verdict = Health.failed(f"took {check.duration:.3g} s, timeout {timeout:g} s", **verdict.facts)
        failed = verdict.status == "failed"
        _log_change(check, verdict, error)
        check.consecutive_failures = check.consecutive_failures + 1 if failed else 0
        check.verdict = verdict
        self._tell(check, not failed, verdict.reason, _plain_facts(verdict.facts))

    def _tell(self, check: Check, ok: bool, detail: str, facts: dict[str, Any]) -> None:
        if self._on_verdict is None:
            return
        try:
            self._on_verdict(check.name, ok, check.required, detail, facts)
        except Exception:
            logger.exception("verdict of health check %r could not be delivered", check.name)


def _log_change(check: Check, verdict: Health, error: BaseException | None) -> None:
    """One line when a check begins to fail, with what it raised, and one when it has recovered."""
    before, now = check.consecutive_failures > 0, verdict.status == "failed"
    if now and not before:
        level, red = (logging.WARNING, ", /readyz is red") if check.required else (logging.INFO, "")
        logger.log(level, "health check %r failed%s: %s", check.name, red, verdict.reason, exc_info=error)
    elif before and not now:
        logger.info("health check %r no longer fails: %s", check.name, verdict.status)


async def _ask(function: CheckFunction, timeout: float) -> tuple[Health, BaseException | None]:
    """One run, and what it raised. Every exception of the check becomes a verdict, KeyboardInterrupt included: only the
    cancellation of our own task passes, and GeneratorExit, which a coroutine must not survive.

    The verdict names the kind of exception only: everybody may read `/readyz`, and what an exception says was not
    written for everybody.
    """
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task is not None else 0
    try:
        async with asyncio.timeout(timeout) as deadline:
            answer: object = function()
            if inspect.isawaitable(answer):
                answer = await answer
    except GeneratorExit:
        raise
    except BaseException as error:
        if deadline.expired() and isinstance(error, TimeoutError):
            return Health.failed(f"no verdict within its timeout of {timeout:g} s"), None
        if (
            isinstance(error, asyncio.CancelledError)
            and task is not None
            and task.cancelling() > cancelled_before
        ):
            raise
        return Health.failed(f"raised {type(error).__qualname__}"), error
    if isinstance(answer, Health):
        return answer, None
    return Health.failed(f"returned {type(answer).__name__} instead of streamconductor.Health"), None


def _plain_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as JSON values; what JSON cannot carry is named by its type, so that the rest still shows."""
    plain: dict[str, Any] = {}
    for name, value in facts.items():
        try:
            plain[name] = value if isinstance(value, str) else json.loads(encode([value]))[0]
        except Exception:
            plain[name] = f"<{type(value).__qualname__}>"
    return plain
