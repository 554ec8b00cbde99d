from __future__ import annotations

import asyncio
import json
import logging
import selectors
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from streamconductor.health import Health, HealthChecks

Verdict = tuple[str, bool, bool, str, dict[str, Any]]


class VirtualTime(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer: seconds pass in no time, and exactly."""

    def __init__(self) -> None:
        super().__init__(_JumpingSelector(self))
        self.now = 1_000.0

    def time(self) -> float:
        return self.now


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTime) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen")
        self.loop.now += timeout
        return super().select(0)


class Checks(HealthChecks):
    """The checks under test, with a record of their verdicts."""

    def __init__(self, interval: float = 5, timeout: float = 2) -> None:
        self.verdicts: list[Verdict] = []
        super().__init__(interval, timeout, lambda *verdict: self.verdicts.append(verdict))

    def of(self, name: str) -> list[tuple[bool, str]]:
        return [(ok, detail) for told, ok, _, detail, _ in self.verdicts if told == name]


@pytest.fixture
def run() -> Iterator[Callable[[Callable[[], Awaitable[None]]], None]]:
    loop = VirtualTime()

    def runs(scenario: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            await scenario()

        loop.run_until_complete(whole())
        assert not asyncio.all_tasks(loop)

    yield runs
    loop.close()


Run = Callable[[Callable[[], Awaitable[None]]], None]


async def watch(checks: HealthChecks, seconds: float) -> dict[str, Any]:
    """Runs the checks for some virtual seconds; whatever escapes from a check escapes from here."""
    async with asyncio.TaskGroup() as group:
        checks.start(group)
        await asyncio.sleep(seconds)
        report = checks.report()
        checks.stop()
    return report


def block(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTime)
    loop.now += seconds


def test_the_three_verdicts() -> None:
    assert Health.ok(lag_ms=3) == Health("ok", "", {"lag_ms": 3})
    assert Health.degraded("slow", lag_ms=900).status == "degraded"
    assert Health.failed("gone").reason == "gone"
    verdict = Health.ok(a=1)
    with pytest.raises(FrozenInstanceError):
        verdict.status = "failed"  # type: ignore[misc]
    with pytest.raises(TypeError):
        verdict.facts["a"] = 2  # type: ignore[index]


def test_async_and_plain_checks_run_at_their_intervals(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks(interval=5, timeout=2)
        times: dict[str, list[float]] = {"async": [], "plain": []}
        now = asyncio.get_running_loop().time

        async def database() -> Health:
            times["async"].append(now())
            await asyncio.sleep(1)
            return Health.ok(lag_ms=3)

        def disk() -> Health:
            times["plain"].append(now())
            return Health.degraded("nearly full", free=5)

        checks.add("database", database, required=True)
        checks.add("disk", disk, interval=3)
        report = await watch(checks, 12.5)
        assert times == {"async": [1000, 1006, 1012], "plain": [1000, 1003, 1006, 1009, 1012]}
        assert report["ok"] is True
        assert report["checks"]["database"] | {"ran_at": 0} == {
            "ok": True, "required": True, "status": "ok", "reason": "", "facts": {"lag_ms": 3},
            "ran_at": 0, "age": 5.5, "duration": 1.0, "consecutive_failures": 0,
        }  # fmt: skip
        assert report["checks"]["disk"]["status"] == "degraded"
        assert checks.of("disk")[1:] == [(True, "nearly full")] * 5
        assert checks.verdicts[-1] == ("disk", True, False, "nearly full", {"free": 5})
        json.dumps(report)

    run(scenario)


def test_before_its_first_run_a_check_is_not_ok(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks()
        checks.add("database", lambda: asyncio.sleep(1, Health.ok()), required=True)
        assert checks.report()["ok"] is False
        assert checks.report()["checks"]["database"]["status"] == "pending"
        assert (await watch(checks, 1.5))["ok"] is True
        assert checks.of("database") == [(False, "has not run yet"), (True, "")]

    run(scenario)


def test_a_hung_check_fails_at_its_timeout_and_delays_no_other(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks(interval=5, timeout=2)
        checks.add("hung", lambda: asyncio.sleep(1e6, Health.ok()), timeout=0.5, required=True)
        checks.add("good", lambda: asyncio.sleep(0.1, Health.ok()), required=True)
        report = await watch(checks, 12)
        assert checks.of("hung")[1:] == [(False, "no verdict within its timeout of 0.5 s")] * 3
        assert checks.of("good")[1:] == [(True, "")] * 3
        assert report["ok"] is False
        assert report["checks"]["hung"]["consecutive_failures"] == 3

    run(scenario)


def raising(error: BaseException) -> Callable[[], Health]:
    def check() -> Health:
        raise error

    return check


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no route"), "raised ValueError"),
        (TimeoutError("theirs"), "raised TimeoutError"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt"),
        (SystemExit(3), "raised SystemExit"),
        (asyncio.CancelledError(), "raised CancelledError"),
        (Unprintable(), "raised Unprintable"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("late", [False, True])
def test_whatever_a_check_raises_is_a_verdict(run: Run, error: BaseException, told: str, late: bool) -> None:
    async def scenario() -> None:
        checks = Checks(interval=5)

        async def check() -> Health:
            await asyncio.sleep(0)
            raise error

        checks.add("bad", check if late else raising(error))
        await watch(checks, 6)
        assert [ok for ok, _ in checks.of("bad")] == [False] * 3
        assert all(detail == told for _, detail in checks.of("bad")[1:])

    run(scenario)


def test_what_is_no_health_is_a_failure_and_success_ends_the_count(run: Run) -> None:
    async def scenario() -> None:
        answers: list[Any] = [True, None, Health.failed("down", code=5), Health.ok(), Health.ok()]
        checks = Checks(interval=1)
        checks.add("flaky", lambda: answers.pop(0))
        counts = []
        async with asyncio.TaskGroup() as group:
            checks.start(group)
            for _ in range(4):
                await asyncio.sleep(0.99)
                counts.append(checks.report()["checks"]["flaky"]["consecutive_failures"])
            checks.stop()
        assert counts == [1, 2, 3, 0]
        assert checks.of("flaky")[1:4] == [
            (False, "returned bool instead of streamconductor.Health"),
            (False, "returned NoneType instead of streamconductor.Health"),
            (False, "down"),
        ]

    run(scenario)


def test_a_plain_check_that_blocks_too_long_has_failed(run: Run) -> None:
    async def scenario() -> None:
        def check() -> Health:
            block(2.5)
            return Health.ok(rows=1)

        checks = Checks(timeout=2)
        checks.add("blocking", check, required=True)
        await watch(checks, 1)
        assert checks.verdicts[-1] == ("blocking", False, True, "took 2.5 s, timeout 2 s", {"rows": 1})

    run(scenario)


def test_a_verdict_that_is_too_old_is_stale(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks(interval=5, timeout=2)
        checks.add("database", Health.ok, required=True)
        async with asyncio.TaskGroup() as group:
            checks.start(group)
            await asyncio.sleep(0.5)
            block(8.5)  # 9 seconds: interval and two timeouts
            assert checks.report()["ok"] is True
            block(0.1)
            report = checks.report()
            assert report["ok"] is False
            assert report["checks"]["database"]["status"] == "stale"
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert checks.report()["ok"] is True
            checks.stop()

    run(scenario)


def test_only_required_checks_count(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks()
        checks.add("cache", lambda: Health.failed("cold"))
        report = await watch(checks, 1)
        assert report["ok"] is True
        assert report["checks"]["cache"]["ok"] is False
        assert checks.verdicts[-1] == ("cache", False, False, "cold", {})

    run(scenario)


def test_a_check_may_be_added_while_the_others_run(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks()
        async with asyncio.TaskGroup() as group:
            checks.start(group)
            checks.add("late", Health.ok)
            await asyncio.sleep(1)
            assert checks.report()["checks"]["late"]["ok"] is True
            checks.stop()

    run(scenario)


def test_the_common_interval_may_change_while_checks_run(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks(interval=5)
        checks.add("database", Health.ok)
        async with asyncio.TaskGroup() as group:
            checks.start(group)
            await asyncio.sleep(1)
            checks.interval = 1
            await asyncio.sleep(6.5)
            checks.stop()
        assert len(checks.of("database")) == 1 + 1 + 3  # at 0, 5, 6 and 7 seconds

    run(scenario)


def test_a_check_that_swallows_its_cancellation_does_not_keep_the_server_alive(run: Run) -> None:
    async def scenario() -> None:
        async def stubborn() -> Health:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                return Health.ok()
            return Health.ok()

        checks = Checks()
        checks.add("stubborn", stubborn)
        await watch(checks, 0.5)

    run(scenario)


def test_the_last_verdicts_stay_after_the_stop(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks()
        checks.add("database", lambda: Health.ok(rows=1))
        await watch(checks, 1)
        assert checks.report()["checks"]["database"]["facts"] == {"rows": 1}

    run(scenario)


def test_a_callback_that_raises_stops_no_check(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("bridge down")

        checks = HealthChecks(1, 1, broken)
        checks.add("database", Health.ok)
        report = await watch(checks, 1.5)
        assert report["ok"] is True
        assert "bridge down" in caplog.text

    run(scenario)


def test_facts_that_json_cannot_carry_are_named_by_type(run: Run) -> None:
    async def scenario() -> None:
        checks = Checks()
        checks.add("odd", lambda: Health.ok(good=[1], bad=object(), nan=float("nan"), text="x"))
        report = await watch(checks, 1)
        expected = {"good": [1], "bad": "<object>", "nan": "<float>", "text": "x"}
        assert report["checks"]["odd"]["facts"] == checks.verdicts[-1][4] == expected

    run(scenario)


@pytest.mark.parametrize("field", ["interval", "timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_durations_are_above_zero(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} is {value}, must be above 0"):
        HealthChecks(5, 2).add("x", Health.ok, **{field: value})  # type: ignore[arg-type]


def test_names_are_unique() -> None:
    checks = HealthChecks(5, 2)
    checks.add("x", Health.ok)
    with pytest.raises(ValueError, match="'x' exists already"):
        checks.add("x", Health.ok)


def test_a_change_is_logged_once_with_what_was_raised_and_the_verdict_names_its_kind_only(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody may read `/readyz`: what an exception says was not written for everybody."""

    async def scenario() -> None:
        error = OSError("postgres://user:hunter2@db is away")
        answers: list[Any] = [
            Health.ok(),
            error,
            error,
            Health.degraded("slow"),
            error,
            Health.ok(),
            Health.ok(),
        ]

        def check() -> Health:
            answer = answers.pop(0) if answers else Health.ok()
            if isinstance(answer, OSError):
                raise answer
            assert isinstance(answer, Health)
            return answer

        checks = Checks(interval=1)
        checks.add("required", check, required=True)
        checks.add("other", lambda: Health.failed("down"))
        await watch(checks, 8)
        assert {detail for _, detail in checks.of("required")} <= {
            "has not run yet",
            "raised OSError",
            "slow",
            "",
        }

    caplog.set_level(logging.INFO, "streamconductor.health")
    run(scenario)
    lines = [(record.levelname, record.getMessage(), bool(record.exc_info)) for record in caplog.records]
    assert [line for line in lines if "'required'" in line[1]] == [
        ("WARNING", "health check 'required' failed, /readyz is red: raised OSError", True),
        ("INFO", "health check 'required' no longer fails: degraded", False),
        ("WARNING", "health check 'required' failed, /readyz is red: raised OSError", True),
        ("INFO", "health check 'required' no longer fails: ok", False),
    ]
    assert [line for line in lines if "'other'" in line[1]] == [
        ("INFO", "health check 'other' failed: down", False)
    ]
