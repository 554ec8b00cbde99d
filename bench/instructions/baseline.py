"""Receives counts and what is checked in · hands out what is said of each workload · owns the tolerance, and when two
counts can be compared at all.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from .callgrind import Count

BASELINE = Path(__file__).with_name("baseline.json")

TOLERANCE = 2
"""Percent of its baseline by which a count may differ. How it was found stands in docs/performance.md."""


class Verdict(Enum):
    """What becomes of a workload; only the first is no reason to fail."""

    SAME = "same"
    WORSE = "WORSE"
    BETTER = "BETTER"
    NEW = "NEW: not in the baseline"
    MISSING = "MISSING: only in the baseline"


@dataclass(frozen=True)
class Toolchain:
    """What a count depends on beside the code."""

    rustc: str
    valgrind: str
    library: str
    machine: str

    @classmethod
    def here(cls, valgrind: str) -> Toolchain:
        """That of this machine."""
        return cls(
            rustc=_first_line("rustc", "--version"),
            valgrind=_first_line(valgrind, "--version"),
            library=" ".join(platform.libc_ver()) or "unknown",
            machine=f"{platform.machine()}{_vectors()}",
        )


@dataclass(frozen=True)
class Baseline:
    """Counts, and where they were taken."""

    toolchain: Toolchain
    counts: Mapping[str, Count]

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """What :meth:`write` has written."""
        found = json.loads(path.read_text())
        counts = {name: Count(**count) for name, count in found["instructions"].items()}
        return cls(Toolchain(**found["toolchain"]), counts)

    def write(self, path: Path) -> None:
        """Makes this what is expected from now on."""
        counts = {name: asdict(count) for name, count in sorted(self.counts.items())}
        # One workload a line, so that a difference between two versions can be read.
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(count)}" for name, count in counts.items())
        toolchain = json.dumps(asdict(self.toolchain), indent=1).replace("\n", "\n ")
        path.write_text(f'{{\n "toolchain": {toolchain},\n "instructions": {{\n{lines}\n }}\n}}\n')


@dataclass(frozen=True)
class Row:
    """One workload: instructions before and now, where there are any."""

    name: str
    before: int | None
    now: int | None

    @property
    def difference(self) -> float:
        """By which part of the baseline the count is higher, or lower."""
        return self.now / self.before - 1 if self.now and self.before else 0.0

    @property
    def verdict(self) -> Verdict:
        """What that means."""
        if self.before is None:
            return Verdict.NEW
        if self.now is None:
            return Verdict.MISSING
        # In whole numbers, so that the bound itself is within.
        if 100 * self.now > (100 + TOLERANCE) * self.before:
            return Verdict.WORSE
        # A gain that is not taken over could be lost again without a word.
        return Verdict.BETTER if 100 * self.now < (100 - TOLERANCE) * self.before else Verdict.SAME


def is_comparable(before: Toolchain, now: Toolchain) -> bool:
    """Whether the two machines execute the same instructions: code chooses its loops by what the processor has."""
    return before.machine == now.machine


def has_same_library(before: Toolchain, now: Toolchain) -> bool:
    """Whether what the C library does can be compared, too."""
    return before.library == now.library


def compare(before: Baseline, now: Baseline) -> list[Row]:
    """Every workload of either side, by name."""
    is_whole = has_same_library(before.toolchain, now.toolchain)

    def instructions(side: Baseline, name: str) -> int | None:
        count = side.counts.get(name)
        if count is None:
            return None
        return count.total if is_whole else count.program

    names = sorted(before.counts.keys() | now.counts.keys())
    return [Row(name, instructions(before, name), instructions(now, name)) for name in names]


def _first_line(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def _vectors() -> str:
    """The widest vectors for which the code that is linked in has loops of its own under valgrind."""
    try:
        information = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    return " avx2" if re.search(r"^flags\s*:.*\bavx2\b", information, re.M) else ""
