"""The gate of the instruction counts can fail: beyond the tolerance, and where a workload is on one side only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.instructions.baseline import BASELINE, TOLERANCE, Baseline, Toolchain, Verdict, compare
from bench.instructions.callgrind import Count, Failed, read

ROOT = Path(__file__).parents[2]
HERE = Toolchain(rustc="rustc 1", valgrind="valgrind-3", library="glibc 2", machine="x86_64 avx2")
BEFORE = {"codec/text": Count(90_000, 10_000), "ring/chunk": Count(500_000, 0)}


def gate(
    tmp_path: Path, now: dict[str, Count], *words: str, toolchain: Toolchain = HERE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command, over counts that were taken before."""
    Baseline(HERE, BEFORE).write(tmp_path / "baseline.json")
    Baseline(toolchain, now).write(tmp_path / "counts.json")
    paths = ["--baseline", str(tmp_path / "baseline.json"), "--counts", str(tmp_path / "counts.json")]
    command = [sys.executable, "-m", "bench.instructions", *paths, *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def changed(name: str, factor: float) -> dict[str, Count]:
    count = BEFORE[name]
    return BEFORE | {name: Count(round(count.program + count.total * (factor - 1)), count.library)}


def test_equal_counts_pass_and_are_told(tmp_path: Path) -> None:
    ended = gate(tmp_path, BEFORE)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[1].split() == ["codec/text", "100,000", "100,000", "+0.00%", "-"]
    assert ended.stdout.splitlines()[-1] == f"all 2 within {TOLERANCE} % of the baseline"


@pytest.mark.parametrize("name", BEFORE)
def test_the_tolerance_is_what_it_says_to_the_instruction(tmp_path: Path, name: str) -> None:
    within = 1 + TOLERANCE / 100
    beyond = within + 1 / BEFORE[name].total

    assert gate(tmp_path, changed(name, within)).returncode == 0
    ended = gate(tmp_path, changed(name, beyond))
    assert ended.returncode == 1
    assert f"1 beyond {TOLERANCE} %: {name}." in ended.stderr
    assert next(line for line in ended.stdout.splitlines() if "WORSE" in line).startswith(name)


def test_a_gain_fails_until_it_is_taken_over(tmp_path: Path) -> None:
    better = changed("ring/chunk", 0.9)

    ended = gate(tmp_path, better)
    assert ended.returncode == 1
    assert "To keep the gain: make bench-instructions ACCEPT=1" in ended.stderr

    assert gate(tmp_path, better, "--accept").returncode == 0
    assert Baseline.read(tmp_path / "baseline.json") == Baseline(HERE, better)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (BEFORE | {"ring/other": Count(1, 1)}, "ring/other"),
        ({"codec/text": BEFORE["codec/text"]}, "ring/chunk"),
        ({}, "codec/text, ring/chunk"),
    ],
)
def test_a_workload_on_one_side_only_fails(tmp_path: Path, now: dict[str, Count], words: str) -> None:
    ended = gate(tmp_path, now)

    assert ended.returncode == 1
    assert f"on one side only: {words}." in ended.stderr


def test_without_a_baseline_nothing_passes(tmp_path: Path) -> None:
    ended = gate(tmp_path, BEFORE, "--baseline", str(tmp_path / "none.json"))

    assert ended.returncode == 1
    assert "there is no" in ended.stderr


def test_only_what_is_meant_is_compared(tmp_path: Path) -> None:
    worse = changed("ring/chunk", 2)

    assert gate(tmp_path, worse, "codec/*").returncode == 0
    assert gate(tmp_path, worse, "ring/*").returncode == 1
    assert gate(tmp_path, worse, "--accept", "codec/*").returncode == 2


def test_counts_of_another_processor_are_not_compared_which_is_said_loudly(tmp_path: Path) -> None:
    other = Toolchain(**{**vars(HERE), "machine": "aarch64"})

    ended = gate(tmp_path, changed("ring/chunk", 2), toolchain=other)
    assert ended.returncode == 0
    assert "SKIPPED: NO COUNT WAS COMPARED: the baseline is of x86_64 avx2, this is aarch64" in ended.stderr
    assert gate(tmp_path, BEFORE, toolchain=other, REQUIRE="1").returncode == 1


def test_another_c_library_leaves_the_programs_own_instructions_to_compare() -> None:
    other = Toolchain(**{**vars(HERE), "library": "glibc 3"})
    now = BEFORE | {"codec/text": Count(90_000, 50_000), "ring/chunk": Count(600_000, 0)}

    same, foreign = (
        {row.name: row.verdict for row in compare(Baseline(HERE, BEFORE), Baseline(toolchain, now))}
        for toolchain in (HERE, other)
    )
    assert set(same.values()) == {Verdict.WORSE}
    assert foreign == {"codec/text": Verdict.SAME, "ring/chunk": Verdict.WORSE}


def test_without_valgrind_it_is_skipped_loudly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.instructions", "--program", "nothing"]
    for required, code in (({}, 0), ({"REQUIRE": "1"}, 1)):
        environment = {"PATH": str(tmp_path), **required}
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert ended.returncode == code
        assert "SKIPPED: NOTHING WAS COUNTED: valgrind is not installed" in ended.stderr


PROFILE = """# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir
summary: 1400

ob=(1) /checkout/target/release/streamconductor-workload
fl=(1) main.rs
fn=(1) streamconductor_workload::counted
70 100
cfi=(2) ring.rs
cfn=(2) push
calls=5 12
+1 1250
cob=(2) /lib/x86_64-linux-gnu/libc.so.6
cfn=(3) memcpy
calls=1 0
* 50

fl=(2)
fn=(2)
12 900
cob=(2)
cfn=(3)
calls=5 0
+3 350

ob=(2)
fl=(3)
fn=(3)
0 400

totals: 1400
"""


def test_costs_are_told_apart_by_their_object_and_counted_once() -> None:
    assert read(PROFILE) == Count(program=1000, library=400)


def test_a_count_of_nothing_is_no_count() -> None:
    with pytest.raises(Failed, match="counted nothing"):
        read(PROFILE.split("ob=", maxsplit=1)[0])


def test_what_is_checked_in_names_every_workload_once_and_where_it_was_counted() -> None:
    baseline = Baseline.read(BASELINE)
    text = BASELINE.read_text()

    assert {name.split("/")[0] for name in baseline.counts} == {
        "codec", "deflate", "fan-out", "handshake", "inbound", "ring", "wheel",
    }  # fmt: skip
    assert all(text.count(f'"{name}"') == 1 for name in baseline.counts)
    channel = (ROOT / "rust-toolchain.toml").read_text().split('channel = "')[1].split('"')[0]
    assert baseline.toolchain.rustc.startswith(f"rustc {channel}")
    assert json.loads(text)["toolchain"]["machine"]
