"""Receives the files of a program · runs its server in a child process, anew at each change · owns the child.

For development: it looks at modification times a few times a second, which needs nothing installed and no
notification that some file systems lack.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

__all__ = ["Reloader", "program_files"]

# Seconds between two looks, and what a child has to end in after each signal.
_PERIOD, _GRACE, _PATIENCE = 0.25, 1.0, 5.0


def program_files(target: str | None, config: Path | None) -> Iterator[Path]:
    """What is watched: the files of the top package of ``module:server``, or all modules beside it, and the
    configuration.
    """
    if config is not None:
        yield config.absolute()
    if target is None:
        return
    top, *rest = target.partition(":")[0].split(".")
    here = Path.cwd()
    package = here / top
    if package.is_dir():
        yield from package.rglob("*.py")
    elif (found := _origin(top)) is not None:
        yield from found.parent.rglob("*.py") if rest else found.parent.glob("*.py")
    else:
        yield from here.glob("*.py")


def _origin(module: str) -> Path | None:
    """The file of an importable top module, found without running it."""
    sys.path.insert(0, os.getcwd())
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    finally:
        sys.path.pop(0)
    return None if found is None or found.origin is None else Path(found.origin)


class Reloader:
    """Runs a command until it is told to stop.

    Args:
        command: what the child runs.
        target: ``module:server``, or None.
        config: the configuration file, or None.
    """

    def __init__(self, command: list[str], target: str | None, config: Path | None) -> None:
        self._command = command
        self._target = target
        self._config = config
        self._told = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Serves and reloads until SIGTERM or SIGINT."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._stop) for number in numbers}
        hangup = signal.signal(signal.SIGHUP, self._pass_on)
        try:
            while not self._told.is_set():
                seen = self._seen()
                # A group of its own: Ctrl-C on the terminal reaches the child through us, and once.
                self._child = subprocess.Popen(self._command, start_new_session=True)
                while not self._told.wait(_PERIOD) and self._seen() == seen:
                    # A child that ended by itself waits for the change that mends it.
                    self._child.poll()
                if not self._told.is_set():
                    print("streamconductor: a file changed, starting anew", file=sys.stderr, flush=True)
                _end(self._child)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.signal(signal.SIGHUP, hangup)

    def _seen(self) -> dict[Path, int]:
        seen = {}
        for path in program_files(self._target, self._config):
            try:
                seen[path] = path.stat().st_mtime_ns
            except OSError:
                # Deleted between the two calls, or about to be replaced: seen at the next look.
                continue
        return seen

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._told.set()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child: gracefully for a moment, then at once, then by force."""
    for patience in (_GRACE, _PATIENCE):
        if child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    if child.poll() is None:
        child.kill()
        child.wait()
