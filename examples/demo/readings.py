"""Receives the kernel's counters · hands out one reading per channel · owns the counters of the last
second, because most figures are differences.
"""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

Reading = dict[str, Any]

CHANNELS = ("host:cpu", "host:memory", "host:net", "host:load")
PROC = Path("/proc")
SMOOTHING = 10  # samples


class Readings:
    """This machine's figures, read from `/proc`, or with psutil where there is none."""

    def __init__(self, proc: Path = PROC) -> None:
        self._source = Proc(proc) if (proc / "stat").exists() else Psutil()
        # The kernel counts in ticks of 10 ms: differences over a tenth of a second would be steps of 10 %.
        self._counters: deque[Counters] = deque([self._count()], maxlen=SMOOTHING)

    def sample(self) -> dict[str, Reading]:
        """One reading per channel; processor and network figures are means over the last ten calls."""
        before, now = self._counters[0], self._count()
        self._counters.append(now)
        return {
            "host:cpu": busy(before.times, now.times),
            "host:memory": self._source.memory(),
            "host:net": rates(before.traffic, now.traffic, now.at - before.at),
            "host:load": self._source.load(),
        }

    def _count(self) -> Counters:
        return Counters(time.monotonic(), self._source.cpu_times(), self._source.traffic())


class Counters(NamedTuple):
    """What only grows: `at` in seconds; per processor busy and whole time; per interface bytes in and out."""

    at: float
    times: dict[str, tuple[float, float]]
    traffic: dict[str, tuple[int, int]]


class Proc:
    """The figures of Linux, from its files."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc

    def cpu_times(self) -> dict[str, tuple[float, float]]:
        return parse_stat((self._proc / "stat").read_text())

    def memory(self) -> Reading:
        return parse_meminfo((self._proc / "meminfo").read_text())

    def traffic(self) -> dict[str, tuple[int, int]]:
        return parse_net_dev((self._proc / "net/dev").read_text())

    def load(self) -> Reading:
        return parse_loadavg((self._proc / "loadavg").read_text())


class Psutil:
    """The same elsewhere; psutil is needed there only."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil

    def cpu_times(self) -> dict[str, tuple[float, float]]:
        cores = enumerate(self._psutil.cpu_times(percpu=True))
        each = {f"cpu{number}": (sum(core) - core.idle, sum(core)) for number, core in cores}
        whole = tuple(sum(column) for column in zip(*each.values(), strict=True))
        return {"cpu": (whole[0], whole[1])} | each

    def memory(self) -> Reading:
        memory, swap = self._psutil.virtual_memory(), self._psutil.swap_memory()
        return {
            "total": memory.total,
            "used": memory.total - memory.available,
            "cached": getattr(memory, "cached", 0),
            "swap": swap.used,
        }

    def traffic(self) -> dict[str, tuple[int, int]]:
        each = self._psutil.net_io_counters(pernic=True)
        return {name: (counters.bytes_recv, counters.bytes_sent) for name, counters in each.items()}

    def load(self) -> Reading:
        one, five, fifteen = self._psutil.getloadavg()
        return {"one": one, "five": five, "fifteen": fifteen, "cores": os.cpu_count()}


def parse_stat(text: str) -> dict[str, tuple[float, float]]:
    """`/proc/stat`: for `cpu` (all) and each core, its busy and its whole time since boot."""
    times = {}
    for line in text.splitlines():
        name, *fields = line.split()
        if name.startswith("cpu"):
            ticks = [int(field) for field in fields[:8]]  # guest times are contained in user times
            waiting = ticks[3] + ticks[4]  # idle, and idle while the disk is busy
            times[name] = (float(sum(ticks) - waiting), float(sum(ticks)))
    return times


def parse_meminfo(text: str) -> Reading:
    """`/proc/meminfo`, in bytes; `used` is what no program could have at once."""
    entries = (line.partition(":") for line in text.splitlines())
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in entries}
    available = kibibytes.get("MemAvailable", kibibytes["MemFree"])
    return {
        "total": kibibytes["MemTotal"] * 1024,
        "used": (kibibytes["MemTotal"] - available) * 1024,
        "cached": kibibytes.get("Cached", 0) * 1024,
        "swap": (kibibytes.get("SwapTotal", 0) - kibibytes.get("SwapFree", 0)) * 1024,
    }


def parse_net_dev(text: str) -> dict[str, tuple[int, int]]:
    """`/proc/net/dev`: bytes received and sent by each interface since it came up."""
    traffic = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        traffic[name.strip()] = (int(fields[0]), int(fields[8]))
    return traffic


def parse_loadavg(text: str) -> Reading:
    """`/proc/loadavg`."""
    one, five, fifteen = (float(field) for field in text.split()[:3])
    return {"one": one, "five": five, "fifteen": fifteen, "cores": os.cpu_count()}


def busy(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> Reading:
    """Percent of the time between two readings in which processors worked: all together, and each."""
    shares = {}
    for name, (worked, whole) in after.items():
        worked_before, whole_before = before.get(name, (worked, whole))  # a core that was just switched on
        # Ticks are 10 ms: between two readings there may be none; now and then the counters run backwards.
        share = (worked - worked_before) / (whole - whole_before) if whole > whole_before else 0.0
        shares[name] = round(100 * min(max(share, 0.0), 1.0), 1)
    return {"total": shares.pop("cpu"), "cores": list(shares.values())}


def rates(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], elapsed: float) -> Reading:
    """Bytes a second between two readings: received and sent over the network, and within the machine."""
    received = sent = local = 0
    for name, (received_now, sent_now) in after.items():
        received_before, sent_before = before.get(name, (received_now, sent_now))
        if name.startswith("lo"):
            local += max(0, sent_now - sent_before)
        else:
            received += max(0, received_now - received_before)  # counters start anew with their interface
            sent += max(0, sent_now - sent_before)
    per_second = 1 / elapsed if elapsed > 0 else 0.0
    return {
        "received": round(received * per_second),
        "sent": round(sent * per_second),
        "local": round(local * per_second),
    }


def resident_memory() -> int:
    """Bytes of real memory that this process takes."""
    statm = PROC / "self/statm"
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    return int(psutil.Process().memory_info().rss)
