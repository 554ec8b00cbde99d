from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamconductor import machine
from streamconductor.machine import available_cores, available_memory


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with 16 cores and 64 GiB, whatever this one has."""
    monkeypatch.setattr(machine, "_host_cores", lambda: 16)
    monkeypatch.setattr(machine, "_host_memory", lambda: 64 << 30)


def write(root: Path, **files: str) -> Path:
    """Makes files; `__` in a name stands for a folder, `_dot_` for a dot."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_control_groups_the_host_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == 16
    assert available_memory(tmp_path) == 64 << 30


def test_version_2_in_a_container(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__self__cgroup="0::/\n",
        sys__fs__cgroup__memory_dot_max=f"{1 << 30}\n",
        sys__fs__cgroup__cpu_dot_max="250000 100000\n",
    )
    assert available_cores(root) == 2
    assert available_memory(root) == 1 << 30


def test_version_2_in_a_service_where_an_ancestor_is_the_tightest(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__self__cgroup="0::/system.slice/x.service\n",
        sys__fs__cgroup__system_dot_slice__memory_dot_max=f"{2 << 30}\n",
        sys__fs__cgroup__system_dot_slice__x_dot_service__memory_dot_max="max\n",
        sys__fs__cgroup__system_dot_slice__x_dot_service__cpu_dot_max="max 100000\n",
    )
    assert available_cores(root) == 16
    assert available_memory(root) == 2 << 30


def test_version_1_where_the_path_is_the_hosts(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__self__cgroup="5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes=f"{3 << 30}\n",
        sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="400000\n",
        sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000\n",
    )
    assert available_cores(root) == 4
    assert available_memory(root) == 3 << 30


def test_version_1_without_limits(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__self__cgroup="5:memory:/\n4:cpu,cpuacct:/\n",
        sys__fs__cgroup__memory__memory_dot_limit_in_bytes="9223372036854771712\n",
        sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="-1\n",
        sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000\n",
    )
    assert available_cores(root) == 16
    assert available_memory(root) == 64 << 30


def test_a_part_of_a_core_is_one(tmp_path: Path) -> None:
    root = write(tmp_path, proc__self__cgroup="0::/\n", sys__fs__cgroup__cpu_dot_max="50000 100000\n")
    assert available_cores(root) == 1


def test_nonsense_is_no_limit(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        proc__self__cgroup="nonsense\n0::/\n",
        sys__fs__cgroup__cpu_dot_max="",
        sys__fs__cgroup__memory_dot_max="lots of it\n",
    )
    assert (available_cores(root), available_memory(root)) == (16, 64 << 30)


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    assert 1 << 24 < available_memory() < 1 << 50
