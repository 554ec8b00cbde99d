"""Receives a scenario and a server · hands out what the load generator says of it · owns its command line.

The load generator is `streamconductor load`, of the installed package.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.machine import pinned

PATIENCE = 120.0
"""Seconds that a run may take beside its window."""


class LoadError(Exception):
    """The load generator did not get what it was due."""


@dataclass(frozen=True)
class Span:
    """How long is measured, in seconds."""

    seconds: float
    warm_up: float


@dataclass(frozen=True)
class Target:
    """What is put under load, and from where."""

    port: int
    path: str
    processes: Sequence[int]
    core: int | None
    """The load generator's; None: any."""
    scheme: str = "ws"


def run(target: Target, scenario: str, words: Sequence[str], span: Span) -> dict[str, Any]:
    """One run against a server.

    Raises:
        LoadError: it was refused, cut off, or answered with something else than what was sent.
    """
    command = [
        sys.executable,
        "-m",
        "streamconductor",
        "load",
        scenario,
        f"{target.scheme}://127.0.0.1:{target.port}{target.path}",
    ]
    command += [
        "--seconds",
        str(span.seconds),
        "--warm-up",
        str(span.warm_up),
        "--quiet",
        "--json",
        "-",
        *words,
    ]
    for process in target.processes:
        command += ["--pid", str(process)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=span.seconds + span.warm_up + PATIENCE,
            preexec_fn=pinned(target.core),
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"the load generator did not end within {error.timeout:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise LoadError(said[-1] if said else f"the load generator ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
