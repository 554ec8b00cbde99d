"""Receives a peer's command · hands out a server that runs, with all its processes · owns its life: first line, end,
and what it said when something went wrong.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.environments import Peer
from bench.machine import pinned

START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0
_SAID = 2000


class ServerError(Exception):
    """A server did not start; says what it said."""


@dataclass(frozen=True)
class Serving:
    """A server that runs."""

    port: int
    process: int
    log: Path

    def processes(self) -> list[int]:
        """Its processes, the first one first; some servers leave the work to others."""
        return tree(self.process)

    def resident(self) -> int:
        """Bytes of all its processes in memory."""
        return sum(_resident(process) for process in self.processes())

    def said(self) -> str:
        """The end of what it wrote to standard error."""
        return self.log.read_text(errors="replace").strip()[-_SAID:]


@contextlib.contextmanager
def serving(peer: Peer, arguments: Sequence[str], core: int | None) -> Iterator[Serving]:
    """A server, for as long as the context lasts.

    Args:
        peer: which; it is not missing.
        arguments: behind its command.
        core: the core that all its threads share; None: any.

    Raises:
        ServerError: it did not say its port in time.
    """
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        with log.open("w") as errors:
            server = subprocess.Popen(
                [*peer.command(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **peer.variables()},
                preexec_fn=pinned(core),
                start_new_session=True,
            )
        try:
            words = _first_line(server).split()
            if len(words) != 2 or not all(word.isdigit() for word in words):
                said = log.read_text(errors="replace").strip()[-_SAID:]
                last = said.splitlines()[-1] if said else "it said nothing"
                raise ServerError(f"the {peer.name} server did not start: {last}")
            port, process = map(int, words)
            yield Serving(port, process, log)
        finally:
            _stop(server)


def tree(process: int) -> list[int]:
    """A process and those it started, and so on; Linux, elsewhere it is alone."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name of the program, in brackets, may hold anything.
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.parent.name))
    found, waiting = [], [process]
    while waiting:
        found.append(waiting.pop(0))
        waiting += sorted(parents.get(found[-1], ()))
    return found


def _resident(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _first_line(server: subprocess.Popen[str]) -> str:
    """Empty when none came in time."""
    assert server.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(server.stdout, selectors.EVENT_READ)
        return server.stdout.readline().strip() if selector.select(START_TIMEOUT) else ""


def _stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(STOP_TIMEOUT)
    # Whoever is left of its group; also itself, if it did not end.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    if server.stdout is not None:
        server.stdout.close()
