"""The rows of hostile input (docs/hostile-input.md): each is tried again and again over TCP and over TLS, beside a
canary that must lose nothing, and afterwards the process holds what it held before.

`ROWS_REPEAT` says how often cheap ones are tried; ``make rows`` takes a thousand.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.protocol.rows.catalogue import CASES
from tests.protocol.rows.registry import BOTH, Case, Profile
from tests.protocol.rows.stage import Stage

REPEAT = int(os.environ.get("ROWS_REPEAT", "20"))


class Stages:
    """One stage at a time, kept for as long as the next case can use it."""

    def __init__(self) -> None:
        self._stage: Stage | None = None

    def get(self, profile: Profile, transport: str) -> Stage:
        if self._stage is not None and (self._stage.profile, self._stage.transport) != (profile, transport):
            self.close()
        if self._stage is None:
            self._stage = Stage(profile, transport)
        return self._stage

    def close(self) -> None:
        """Ends it."""
        if self._stage is not None:
            stage, self._stage = self._stage, None
            stage.close()


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """Where rows are played; what a failed one has left is for nobody else."""
    stages = Stages()
    yield stages
    stages.close()


@pytest.mark.timeout(60 + REPEAT * 2)
@pytest.mark.parametrize(
    ("transport", "case"),
    [
        pytest.param(transport, case, id=f"{transport}-{case.name}")
        for transport in BOTH
        for case in CASES
        if transport in case.transports
    ],
)
def test_row(stages: Stages, transport: str, case: Case) -> None:
    try:
        stages.get(case.profile, transport).play(case, max(case.least, REPEAT // case.cost))
    except BaseException as error:
        try:
            stages.close()
        except BaseException as ending:
            raise error from ending
        raise
