"""Receives pytest's options · hands the benchmarks their lengths · owns the word on who is missing."""

from __future__ import annotations

import pytest

from bench.environments import ALL
from bench.load import Span
from bench.machine import raise_file_limit

FIGURES: dict[tuple[str, str], dict[str, float]] = {}
"""By row and contender, what was measured last; a row's floor comes first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("comparison with peers")
    group.addoption("--bench-rounds", type=int, default=3, help="measurements of each peer in each row (3)")
    group.addoption("--bench-seconds", type=float, default=1.0, help="length of a window (1)")
    group.addoption("--bench-warm-up", type=float, default=0.3, help="seconds of load before it (0.3)")


def pytest_configure() -> None:
    raise_file_limit()


@pytest.fixture
def span(pytestconfig: pytest.Config) -> Span:
    return Span(pytestconfig.getoption("--bench-seconds"), pytestconfig.getoption("--bench-warm-up"))


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> int:
    rounds: int = pytestconfig.getoption("--bench-rounds")
    return rounds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of pytest-benchmark has no line for whoever was not measured, so here is one."""
    missing = {name: reason for name, peer in ALL.items() if (reason := peer.missing()) is not None}
    if missing:
        terminalreporter.section("peers that are missing from the table", red=True, bold=True)
        for name, reason in missing.items():
            terminalreporter.line(f"{name:<20} missing: {reason}")
