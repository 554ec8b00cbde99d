"""Receives what the operating system tells · hands the defaults of `threads` and `memory_budget` to `Config`
· owns the reading of control groups, without which a container would be taken for its host.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["available_cores", "available_memory"]

_FALLBACK_MEMORY = 1 << 30
_ROOT = Path("/")


def available_cores(root: Path = _ROOT) -> int:
    """Cores that this process may use: those it is bound to, and no more than its control group's quota (at
    least one; parts of a core are rounded down, since a shard that is throttled is late for everybody).
    """
    return max(1, min([_host_cores(), *(int(quota) for quota in _quotas(root))]))


def available_memory(root: Path = _ROOT) -> int:
    """Bytes of memory that this process may use: the host's, or its control group's limit if that is
    smaller.
    """
    return min([_host_memory(), *_memory_limits(root)])


def _quotas(root: Path) -> Iterator[float]:
    for folder in _groups(root, "cpu"):
        match _words(folder / "cpu.max"):  # version 2: quota and period, in microseconds
            case [quota, period] if quota.isdigit() and period.isdigit():
                yield int(quota) / int(period)
        quota_words, period_words = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
        match quota_words + period_words:  # version 1; -1 is no quota
            case [quota, period] if quota.isdigit() and period.isdigit():
                yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            match _words(folder / name):
                case [limit] if limit.isdigit():
                    yield int(limit)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process' control groups and of their ancestors: each of them limits it."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        # In a container the path may be the host's and not exist here; its own group is then the mount
        # itself.
        group = mount / path.lstrip("/")
        while group != mount and mount in group.parents:
            yield group
            group = group.parent
        yield mount


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _host_cores() -> int:
    # Absent where processes cannot be bound to cores, as on macOS and Windows.
    bound: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(bound(0)) if bound is not None else os.cpu_count() or 1


def _host_memory() -> int:
    if sys.platform == "win32":

        class MemoryStatus(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
                (name, ctypes.c_ulonglong) for name in ("total", "a", "b", "c", "d", "e", "f")
            ]

        status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
        taken = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total) if taken else _FALLBACK_MEMORY
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return _FALLBACK_MEMORY
