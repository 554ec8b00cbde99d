"""Receives a Python program's arguments · hands its lines and its exit code to a test · owns the process: it is
ended by its id, whatever the test did.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PATIENCE = 15.0  # seconds for a line to come, or for the process to end


class Program:
    """A Python process: ``with Program("-m", "streamconductor", …) as program``."""

    def __init__(self, *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("STREAMCONDUCTOR_")
        }
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=inherited | {"PYTHONUNBUFFERED": "1"} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._open = 2
        self._readers = [
            threading.Thread(target=self._read, args=[stream], daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> list[str]:
        """All lines so far, of both streams."""
        with self._news:
            return list(self._lines)

    def line(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Waits for a line that the pattern is found in; `after`: leaves out that many first lines."""
        found: list[re.Match[str]] = []

        def is_there() -> bool:
            found.extend(filter(None, (re.search(pattern, line) for line in self._lines[after:])))
            return bool(found) or self._open == 0

        with self._news:
            self._news.wait_for(is_there, PATIENCE)
            assert found, f"no line like {pattern!r} in:\n" + "\n".join(self._lines)
            return found[0]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Waits for its end and for its last line; the exit code."""
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            # It may have children to end.
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.wait()


def ended(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    """Runs a program to its end: its exit code and its lines."""
    with Program(*arguments, cwd=cwd, environment=environment) as program:
        return program.wait(), program.output
