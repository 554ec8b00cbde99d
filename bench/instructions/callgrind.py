"""Receives the program that has the workloads · hands out how many instructions each executes · owns what makes two
counts of the same program equal.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 300.0
"""Seconds that one workload may take; on an idle machine it takes one or two."""

# The function of the program from whose entry to whose return is counted.
COUNTED = "*workload::counted*"

# Files of the C library.
LIBRARY = re.compile(r"/(libc|libm|libgcc_s|ld)[.-][^/]*$")

# Nothing of the caller's environment but what finding programs needs: its size moves the stack. The C library takes
# the copying loop that all processors of the last ten years have, and not the one instruction that copies it all,
# which counts once per byte; and it binds its functions before the first count, not within it.
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-ERMS,-FSRM",
    "LD_BIND_NOW": "1",
}


class Unobtainable(Exception):
    """valgrind is not there."""


class Failed(Exception):
    """A workload could not be counted."""


@dataclass(frozen=True)
class Workload:
    """What the program says of a workload: its name, and how many units of what a run of it does."""

    name: str
    unit: str
    units: int


@dataclass(frozen=True)
class Count:
    """Instructions of one run.

    Attributes:
        program: those of the program itself, with everything that is linked into it.
        library: those of the C library, to copy and to allocate, which are another machine's with another library.
    """

    program: int
    library: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.program + self.library


def find_valgrind() -> str:
    """Where valgrind is."""
    if found := shutil.which("valgrind"):
        return found
    raise Unobtainable("valgrind is not installed (Debian and its kin: apt-get install valgrind)")


def workloads(program: Path) -> list[Workload]:
    """All that the program has."""
    lines = subprocess.run([program, "list"], check=True, capture_output=True, text=True).stdout.splitlines()
    words = [line.split("\t") for line in lines]
    return [Workload(name, unit, int(units)) for name, unit, units in words]


def counts(program: Path, names: list[str], profiles: Path | None = None) -> Iterator[tuple[str, Count]]:
    """Counts each workload in a process of its own, so that one more or less changes nothing for the others.

    Args:
        program: the program that has them.
        names: those that are meant.
        profiles: where to leave callgrind's files, for callgrind_annotate or KCachegrind; None: nowhere.
    """
    valgrind = find_valgrind()
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(_cores()) as pool:
        folder = profiles or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        yield from zip(
            names, pool.map(lambda name: _count(valgrind, program, name, folder), names), strict=True
        )


def read(profile: str) -> Count:
    """The counts in the text of a callgrind file, told apart by the object that a cost belongs to."""
    program = library = 0
    is_library = is_inclusive = False
    objects: dict[str, str] = {}
    for line in profile.splitlines():
        if named := re.match(r"c?ob=(\(\d+\))(?: (.+))?", line):
            number, path = named[1], named[2]
            objects.setdefault(number, path or "")
            if not line.startswith("c"):
                is_library = bool(LIBRARY.search(objects[number]))
        elif line.startswith("calls="):
            # What follows is the cost of the function called, which is listed on its own.
            is_inclusive = True
        elif re.match(r"[-+*\d]", line):
            cost = int(line.split()[1]) if len(line.split()) > 1 else 0
            if is_inclusive:
                is_inclusive = False
            elif is_library:
                library += cost
            else:
                program += cost
    if program == 0:
        raise Failed(f"callgrind counted nothing: no function of the program is called {COUNTED}")
    return Count(program, library)


def _count(valgrind: str, program: Path, name: str, folder: Path) -> Count:
    profile = folder / f"callgrind.{name.replace('/', '.')}.out"
    words = [
        valgrind,
        "--tool=callgrind",
        "--quiet",
        f"--callgrind-out-file={profile}",
        f"--toggle-collect={COUNTED}",
        str(program),
        "run",
        name,
    ]
    ended = subprocess.run(
        words, capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE, check=False
    )
    if ended.returncode:
        raise Failed(f"{name} ended with {ended.returncode}: {ended.stderr.strip()[-2000:]}")
    return read(profile.read_text())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
