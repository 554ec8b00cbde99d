"""Receives a scenario and a server · hands out what the load generator says of it · owns its command line.

The load generator is `streamconductor load`, of the installed package.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine import pinned
from bench.environments import target

SIZE = 128
PATIENCE = 120.0
"""Seconds that a run may take beside its window."""


class LoadError(Exception):
    """The load generator did not get what it was due."""


def run(
    scenario: str,
    port: int,
    path: str,
    words: Sequence[str],
    *,
    processes: Sequence[int],
    seconds: float,
    warm_up: float,
    core: int | None,
) -> dict[str, Any]:
    """One run against a server.

    Raises:
        LoadError: it was refused, cut off, or answered with something else than what was sent.
    """
    command = [
        str(target() / "release" / "streamconductor-load"), scenario, "--path", path, "--port", str(port),
        *(["--size", str(SIZE)] if "--size" not in words else []),
        "--seconds", str(seconds), "--warm-up", str(warm_up),
        *words,
    ]
    for process in processes:
        command += ["--pid", str(process)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds + warm_up + PATIENCE,
            preexec_fn=pinned(core),
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"the load generator did not end within {error.timeout:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise LoadError(said[-1] if said else f"the load generator ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
