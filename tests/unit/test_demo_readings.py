"""What the demo reads: this machine's counters, and files that grow, rotate and are cut short."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo import readings
from examples.demo.readings import PROC, Psutil, Readings
from examples.demo.tail import MAX_BEHIND, MAX_LINE, MAX_READ, NotAFile, Tail

STAT = """cpu  100 0 50 800 50 0 0 0 40 0
cpu0 60 0 30 380 30 0 0 0 20 0
cpu1 40 0 20 420 20 0 0 0 20 0
intr 12345
"""
MEMINFO = """MemTotal:        1000 kB
MemFree:          100 kB
MemAvailable:     400 kB
Cached:           250 kB
SwapTotal:         64 kB
SwapFree:          60 kB
HugePages_Total:       0
"""
NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo:    5000     10    0    0    0     0          0         0     5000      10    0    0    0     0
  eth0:1000000    100    0    0    0     0          0         0   20000      50    0    0    0     0
"""


def test_busy_time_is_what_was_neither_idle_nor_waiting_for_the_disk() -> None:
    times = readings.parse_stat(STAT)
    assert times == {"cpu": (150, 1000), "cpu0": (90, 500), "cpu1": (60, 500)}


def test_processors_are_shown_by_their_share_since_the_last_time() -> None:
    before = {"cpu": (100.0, 1000.0), "cpu0": (50.0, 500.0)}
    after = {"cpu": (125.0, 1100.0), "cpu0": (100.0, 550.0), "cpu1": (7.0, 9.0)}
    assert readings.busy(before, after) == {"total": 25.0, "cores": [100.0, 0.0]}
    assert readings.busy(after, after) == {"total": 0.0, "cores": [0.0, 0.0]}
    assert readings.busy(after, before)["total"] == 0.0  # counters that run backwards


def test_memory_that_is_used_is_what_is_not_available() -> None:
    assert readings.parse_meminfo(MEMINFO) == {
        "total": 1000 * 1024,
        "used": 600 * 1024,
        "cached": 250 * 1024,
        "swap": 4 * 1024,
    }


def test_traffic_is_a_rate_and_apart_from_what_stays_within_the_machine() -> None:
    before = readings.parse_net_dev(NET_DEV)
    assert before == {"lo": (5000, 5000), "eth0": (1_000_000, 20_000)}
    after = {"lo": (6000, 6000), "eth0": (1_000_100, 20_010), "wlan0": (77, 77)}
    assert readings.rates(before, after, 0.5) == {"received": 200, "sent": 20, "local": 2000}
    restarted = {"lo": (0, 0), "eth0": (5, 5)}
    assert readings.rates(before, restarted, 0.5) == {"received": 0, "sent": 0, "local": 0}


def test_load_is_read_as_it_stands() -> None:
    load = readings.parse_loadavg("0.50 1.25 2.00 3/456 7890\n")
    assert (load["one"], load["five"], load["fifteen"], load["cores"]) == (0.5, 1.25, 2.0, os.cpu_count())


def test_a_sample_compares_with_the_counters_of_the_last_second(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    for name, text in [
        ("stat", STAT),
        ("meminfo", MEMINFO),
        ("net/dev", NET_DEV),
        ("loadavg", "0 0 0 1/1 1"),
    ]:
        (tmp_path / name).write_text(text)
    source = Readings(tmp_path)
    (tmp_path / "stat").write_text(STAT.replace("cpu  100 0 50 800", "cpu  190 0 50 810"))
    assert source.sample()["host:cpu"]["total"] == 90.0
    for _ in range(9):
        assert source.sample()["host:cpu"]["total"] == 90.0
    assert source.sample()["host:cpu"]["total"] == 0.0  # that burst is a second ago


@pytest.mark.skipif(not (PROC / "stat").exists(), reason="there is no /proc to compare with")
def test_this_machine_gives_plausible_figures_by_either_way() -> None:
    for sample in (Readings().sample(), Readings(Path("/nonexistent")).sample()):
        assert set(sample) == set(readings.CHANNELS)
        memory = sample["host:memory"]
        assert 0 < memory["used"] < memory["total"]
        assert len(sample["host:cpu"]["cores"]) >= 1
        assert all(0 <= share <= 100 for share in sample["host:cpu"]["cores"])
        assert sample["host:net"]["received"] >= 0
        assert sample["host:load"]["one"] >= 0
    one, other = Readings().sample()["host:memory"], Psutil().memory()
    assert one["total"] == other["total"]
    assert one["used"] == pytest.approx(other["used"], rel=0.2)


def test_resident_memory_is_that_of_this_process() -> None:
    before = readings.resident_memory()
    # Of its own: what the process has freed before could serve any other allocation without growing.
    with mmap.mmap(-1, 64 << 20) as ballast:
        ballast.write(b"x" * len(ballast))
        assert readings.resident_memory() - before > 60 << 20


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(b"")
    return path


@pytest.fixture
def tail(log: Path) -> Iterator[Tail]:
    tail = Tail(log)
    yield tail
    tail.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_lines_come_once_they_are_complete(log: Path, tail: Tail) -> None:
    assert tail.read() == []
    append(log, "one\ntwo\r\nhälf".encode()[:-3])
    assert tail.read() == ["one", "two"]
    append(log, "hälf".encode()[-3:] + b" whole\n\n")
    assert tail.read() == ["hälf whole", ""]
    assert tail.read() == []


def test_it_begins_with_the_last_whole_lines(log: Path) -> None:
    log.write_bytes(b"0123456789\nabcdef\nxyz\n")
    for recent, lines in [(4, ["xyz"]), (10, ["xyz"]), (11, ["abcdef", "xyz"]), (0, [])]:
        tail = Tail(log, recent=recent)
        assert tail.read() == lines, recent
        tail.close()


def test_bytes_that_are_no_text_are_shown_as_such(log: Path, tail: Tail) -> None:
    append(log, b"\xff\xfe ok\n")
    assert tail.read() == ["\ufffd\ufffd ok"]


def test_an_overlong_line_is_cut_and_its_rest_left_out(log: Path, tail: Tail) -> None:
    append(log, b"a" * (MAX_LINE + 1) + b"\nnext\n")
    assert tail.read() == ["a" * MAX_LINE + "…", "next"]
    for _ in range(4):  # piece by piece, without an end in sight
        append(log, b"b" * MAX_LINE)
        tail.read()
    append(log, b"end of b\nnext\n")
    assert tail.read() == ["next"]


def test_a_rotated_file_is_read_to_its_end_and_followed_by_the_new_one(log: Path, tail: Tail) -> None:
    append(log, b"first\n")
    assert tail.read() == ["first"]
    old = log.rename(log.with_suffix(".1"))
    append(old, b"late\nunfinished")  # its writer has not noticed yet
    assert tail.read() == ["late"]
    assert tail.read() == []
    log.write_bytes(b"new\n")
    assert tail.read() == ["unfinished"]
    assert tail.read() == ["new"]


def test_a_truncated_file_begins_anew(log: Path, tail: Tail) -> None:
    append(log, b"a long first line\nunfinished")
    tail.read()
    log.write_bytes(b"short\n")
    assert tail.read() == ["short"]


def test_a_missing_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "later"
    tail = Tail(path)
    assert tail.read() == []
    path.write_bytes(b"here\n")
    assert tail.read() == ["here"]
    tail.close()


def test_one_call_reads_a_bounded_amount_and_what_is_far_behind_is_skipped(log: Path, tail: Tail) -> None:
    line = b"x" * 99 + b"\n"
    append(log, line * (2 * MAX_READ // 100))
    assert sum(len(text) + 1 for text in tail.read()) <= MAX_READ
    append(log, line * (2 * MAX_BEHIND // 100) + b"newest\n")
    lines = tail.read()
    assert lines[-1] == "newest"
    assert len(lines) <= MAX_READ // 100 + 1
    assert tail.skipped > MAX_BEHIND
    assert set(lines[:-1]) == {"x" * 99}  # no half line


def test_only_regular_files_are_followed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(NotAFile, match="no regular file"):
        Tail(pipe)
