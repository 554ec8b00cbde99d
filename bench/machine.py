"""Receives nothing · hands out what the figures are taken on: the cores of server and client, and the machine's card ·
owns the limits of this process.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cores:
    """Where server and client run; None: wherever the system puts them."""

    server: int | None
    client: int | None

    @classmethod
    def choose(cls) -> Cores:
        """The first two that this process may use."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[1]) if len(cores) > 1 else cls(None, None)

    def __str__(self) -> str:
        return "not pinned" if self.server is None else f"server on {self.server}, client on {self.client}"


def pinned(core: int | None) -> Callable[[], None] | None:
    """What a child does before it becomes another program."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


def raise_file_limit() -> None:
    """Thousands of sockets on either side are more than most systems allow by default."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def card(cores: Cores) -> dict[str, Any]:
    """The machine's card."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "pinning": str(cores),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    with contextlib.suppress(OSError):
        congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
        found["congestion control"] = congestion.read_text().strip()
    if hasattr(os, "getloadavg"):
        found["load average at the start"] = round(os.getloadavg()[0], 2)
    return found


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / (1 << 30):.0f} GiB"
    return "unknown"
