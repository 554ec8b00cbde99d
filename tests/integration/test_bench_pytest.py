"""`pytest bench/ --benchmark-only`, as users run it: what is installed is measured, and whoever is missing is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.clock import LoadClock, Timed, seconds_for

ROOT = Path(__file__).parents[2]


def run(place: Path, *words: str) -> tuple[int, str]:
    """In an environment where no peer was built."""
    command = [sys.executable, "-m", "pytest", "bench/", "--benchmark-only", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(place), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=55)
    return done.returncode, done.stdout + done.stderr


def test_what_is_installed_is_measured_and_the_others_are_missing(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    short = ("--bench-rounds", "2", "--bench-seconds", "0.2", "--bench-warm-up", "0.05")
    code, said = run(tmp_path, "-k", "echo", *short, "--benchmark-json", str(results))
    assert code == 0, said
    assert "SKIPPED" in said
    assert "missing: its environment is not built: python -m bench.environments picows" in said
    assert "peers that are missing from the table" in said
    measured: list[dict[str, Any]] = json.loads(results.read_text())["benchmarks"]
    assert [one["params"]["contender"] is not None for one in measured] == [True, True]
    for one in measured:
        noted = one["extra_info"]
        assert noted["peer"] == "streamconductor"
        assert noted["cpu_us_per_message"] > 0
        assert 0 < noted["p50_us"] <= noted["p99_us"]
        assert noted["rss_bytes"] > 1 << 20
        # The floor was not built.
        assert noted["ratio_to_floor"] is None
        assert noted["timed"] == "10,000 messages, by the clock on the wall"
        assert one["stats"]["rounds"] == 2
        # The time of 10,000 messages, not of a server's start.
        assert one["stats"]["min"] > 0


def test_tests_do_not_run_the_benchmarks() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["pytest"]["ini_options"]["testpaths"] == ["tests"]


@pytest.mark.parametrize(
    ("timed", "figures", "seconds"),
    [
        (Timed.MESSAGES, {"messages_per_second": 500.0}, 2.0),
        (Timed.PROCESSOR, {"cpu_us_per_message": 7.0}, 0.007),
        (Timed.OPENINGS, {"opening.seconds": 3.0, "opening.opened": 9_000.0}, 1 / 3),
        (Timed.PINGS, {"server_load": 0.1, "seconds": 16.0, "server_pings.received": 48_000.0}, 0.1 / 3),
    ],
)
def test_a_thousand_take_as_long_as_they_took_in_the_window(
    timed: Timed, figures: dict[str, float], seconds: float
) -> None:
    assert seconds_for(timed, 1_000, figures) == pytest.approx(seconds)


def test_the_clock_moves_with_the_messages_alone() -> None:
    clock = LoadClock()
    before = clock()
    assert clock() == before
    clock.advance(0.25)
    assert clock() - before == 0.25
