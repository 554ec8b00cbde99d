from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from streamconductor.policy import ConnectionInfo, PoolPolicy, PoolSnapshot

FULL = PoolSnapshot(
    occupied=3, max_connections=4, pending=1, max_pending=8, memory_used=10, memory_budget=100
)


def candidate(identifier: str) -> ConnectionInfo:
    return ConnectionInfo(identifier, "ada", 1, "/rooms", "127.0.0.1:5000", 60.0, 5.0, 1024)


async def test_by_default_whoever_was_accepted_may_enter() -> None:
    assert await PoolPolicy().admit(None, FULL) is True


async def test_by_default_the_first_candidate_leaves_and_without_one_nobody() -> None:
    policy = PoolPolicy()
    assert await policy.evict(None, FULL, [candidate("0-1-0"), candidate("0-2-0")]) == "0-1-0"
    assert await policy.evict(None, FULL, []) is None


async def test_one_method_may_be_overridden() -> None:
    class Closed(PoolPolicy):
        async def admit(self, request: Any, pool: PoolSnapshot) -> bool:
            return pool.utilisation < 0.5

    assert await Closed().admit(None, FULL) is False
    assert await Closed().evict(None, FULL, [candidate("0-1-0")]) == "0-1-0"


def test_utilisation_is_the_part_of_the_slots_that_is_taken() -> None:
    assert FULL.utilisation == 0.75


def test_snapshots_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        FULL.pending = 9  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        candidate("0-1-0").id = "0-2-0"  # type: ignore[misc]
