"""Receives steps, each with its time or its number of bytes · hands them as orders to a proxy, exactly then · owns what
a step may say, and how a seed becomes steps.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .faults import Changes, Direction, Faults, Scope, check_scope, directions_of

__all__ = ["Action", "Gate", "Script", "Step", "random_steps"]

Action = Literal["disturb", "reset", "half_close", "refuse", "restore"]
"""The orders of `ChaosProxy`, by the names of its methods."""

_ACTIONS: tuple[Action, ...] = ("disturb", "reset", "half_close", "refuse", "restore")
_NOTHING = Faults()


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """An order and when it is given. `dataclasses.asdict` and ``Step(**…)`` take it to JSON and back.

    Attributes:
        after: seconds since the step before, or since the script began.
        after_bytes: then, bytes that have passed since. What comes behind them waits for the order. 0: none.
        counted: the direction whose bytes they are; `None`: both.
        action: the method of `ChaosProxy`.
        direction: as in the method; `None`: both. `half_close` needs one; only `disturb` and `half_close` take one.
        scope: as in `disturb`.
        change: the faults that `disturb` sets.
    """

    after: float = 0.0
    after_bytes: int = 0
    counted: Direction | None = None
    action: Action = "disturb"
    direction: Direction | None = None
    scope: Scope = "all"
    change: Changes = field(default_factory=Changes)

    def __post_init__(self) -> None:
        for name in ("after", "after_bytes"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name}={value!r} must be a number at least 0")
        if self.action not in _ACTIONS:
            raise ValueError(f"action={self.action!r} must be one of {', '.join(_ACTIONS)}")
        for direction in (self.direction, self.counted):
            directions_of(direction)
        if self.action == "half_close" and self.direction is None:
            raise ValueError("half_close needs a direction; both of them are reset, or an end of the target")
        check_scope(self.scope)
        Faults(**self.change)


def random_steps(
    seed: int,
    *,
    seconds: float = 5.0,
    count: int = 10,
    actions: Sequence[Action] = _ACTIONS,
    corruption: bool = False,
) -> list[Step]:
    """A script of random orders; the same arguments give the same one. It ends with `restore`.

    Args:
        seed: what is drawn from.
        seconds: how long it takes in all.
        count: how many orders it has before the last.
        actions: those to choose from.
        corruption: whether bytes may be corrupted, which neither TCP nor TLS would let through.

    Raises:
        ValueError: there is no such action.
    """
    draw = random.Random(seed)
    moments = sorted(draw.uniform(0, seconds) for _ in range(count))
    gaps = [later - earlier for earlier, later in zip([0.0, *moments], [*moments, seconds], strict=True)]
    steps = []
    for gap in gaps[:-1]:
        action = draw.choice(actions)
        direction: Direction | None = draw.choice(("upstream", "downstream"))
        if action not in ("disturb", "half_close") or (action == "disturb" and draw.random() < 0.5):
            direction = None
        change = _random_change(draw, corruption) if action == "disturb" else Changes()
        steps.append(Step(after=gap, action=action, direction=direction, change=change))
    return [*steps, Step(after=gaps[-1], action="restore")]


def _random_change(draw: random.Random, corruption: bool) -> Changes:
    choices: list[Changes] = [
        {"latency": draw.uniform(0, 0.2), "jitter": draw.uniform(0, 0.2)},
        {"bandwidth": draw.uniform(1_000, 100_000)},
        {"bandwidth": 0},
        {"bandwidth": None},
        {"slicing": draw.randint(1, 16)},
        {"black_hole": True},
    ]
    if corruption:
        choices.append({"corruption": draw.uniform(0, 0.01)})
    return draw.choice(choices)


class Script:
    """Plays steps, one after the other.

    Args:
        order: carries out a step, at once.
        over: gets its result when all are done.
    """

    def __init__(
        self, steps: Sequence[Step], order: Callable[[Step], None], over: asyncio.Future[None]
    ) -> None:
        self.over = over
        self._steps = iter(list(steps))
        self._order = order
        self._loop = over.get_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._awaited: Step | None = None
        self._remaining = 0

    def start(self) -> None:
        """Carries out what is due at once, and waits for the rest."""
        self._go_on()

    def stop(self) -> None:
        """Leaves what is left undone."""
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = None
        self.over.cancel()

    def allowance(self, direction: Direction) -> int:
        """How many bytes may pass before the next step may be due."""
        return self._remaining if self._counts(direction) else sys.maxsize

    def passed(self, direction: Direction, count: int) -> None:
        """That many bytes have passed: at most the allowance."""
        if self._counts(direction):
            self._remaining -= count
            if self._remaining <= 0:
                step, self._awaited = self._awaited, None
                assert step is not None
                self._order(step)
                self._go_on()

    def _counts(self, direction: Direction) -> bool:
        return self._awaited is not None and self._awaited.counted in (None, direction)

    def _go_on(self) -> None:
        for step in self._steps:
            if step.after > 0:
                self._timer = self._loop.call_later(step.after, self._time_has_come, step)
                return
            if self._waits_for_bytes(step):
                return
            self._order(step)
        if not self.over.done():
            self.over.set_result(None)

    def _time_has_come(self, step: Step) -> None:
        if not self._waits_for_bytes(step):
            self._order(step)
            self._go_on()

    def _waits_for_bytes(self, step: Step) -> bool:
        if step.after_bytes:
            self._awaited, self._remaining = step, step.after_bytes
        return bool(step.after_bytes)


class Gate:
    """Where the bytes of all connections pass by whatever script plays."""

    def __init__(self) -> None:
        self.script: Script | None = None

    def allowance(self, direction: Direction) -> int:
        """How many bytes may pass before the next step may be due."""
        return sys.maxsize if self.script is None else self.script.allowance(direction)

    def passed(self, direction: Direction, count: int) -> None:
        """That many bytes have passed."""
        if self.script is not None:
            self.script.passed(direction, count)
