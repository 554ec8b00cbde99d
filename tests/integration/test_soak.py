"""`make soak` in small, and that it finds what it is there to find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def load_client() -> Path:
    """The load client that was built last, in whichever profile."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [target / profile / "streamconductor-load" for profile in ("debug", "release")]
    there = [path for path in built if path.exists()]
    if not there:
        pytest.fail("no load client: cargo build -p streamconductor-load")
    return max(there, key=lambda path: path.stat().st_mtime)


def soak(load_client: Path, tmp_path: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """One soak: its exit status, its report, and what it printed."""
    file = tmp_path / "soak.json"
    command = [sys.executable, "-m", "bench.soak", "--client", str(load_client), "--json", str(file), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert file.exists(), done.stderr
    report: dict[str, Any] = json.loads(file.read_text())["report"]
    return done.returncode, report, done.stdout


@pytest.mark.slow
def test_a_short_soak_is_flawless(load_client: Path, tmp_path: Path) -> None:
    status, report, printed = soak(
        load_client, tmp_path, "--minutes", "0.27", "--connections", "200", "--load", "0.2", "--churn", "15"
    )

    assert status == 0, printed
    ledger, books = report["ledger"], report["books"]
    assert ledger["violations"] == 0
    # What was compared is all there was: every connection, and every kind of ending that a soak is about. A machine
    # that stops the client for seconds adds endings of its own.
    assert ledger["compared"] == ledger["opened"] > 200
    assert set(books["endings"]) >= {"peer_closed", "transport_lost", "slow_consumer"}
    if ledger["excused"] == 0:
        assert sum(books["endings"].values()) == ledger["opened"]
        assert len(books["endings"]) == 3
    assert books["accepted"] == books["written"] + sum(books["dropped"].values()) + books["discarded"]
    assert sum(books["dropped"].values()) >= ledger["dropped"] > 0
    assert report["descriptors_after"] == report["descriptors_before"]
    assert report["tls"] == 100
    assert "flawless" in printed


@pytest.mark.parametrize(
    ("sabotage", "counter"),
    [
        ("drop", "lost"),
        ("duplicate", "duplicated"),
        ("reorder", "reordered"),
        ("corrupt", "corrupted"),
        ("miscount", None),
        ("descriptors", None),
    ],
)
def test_it_finds_what_is_wrong(
    load_client: Path, tmp_path: Path, sabotage: str, counter: str | None
) -> None:
    status, report, printed = soak(
        load_client,
        tmp_path,
        "--minutes",
        "0.06",
        "--connections",
        "100",
        "--load",
        "0.1",
        "--sabotage",
        sabotage,
    )

    assert status == 1
    ledger = report["ledger"]
    counters = {
        name: ledger[name] for name in ("lost", "duplicated", "reordered", "corrupted", "misdirected")
    }
    assert {name for name, count in counters.items() if count} == ({counter} if counter else set())
    words = {"miscount": "the server says", "descriptors": "descriptors at the end"}
    assert ledger["violations"] > 0
    assert words.get(sabotage, "Publication") in ledger["texts"][0]
    assert "violation: " in printed
