"""Receives a profile and a transport · hands a case a server, and peers of it · owns the server's process, the canary
on it, and the comparison of what the process held before a row and after.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.protocol.rows.canary import Canary
from tests.protocol.rows.profiles import COMMON
from tests.protocol.rows.registry import Case, Profile
from tests.support.raw import PATIENCE, Peer
from tests.support.servers import eventually
from tests.support.transport import authority

ROOT = Path(__file__).parents[3]
BACK = ("occupied", "pending", "handlers", "arrivals", "tasks", "descriptors")
"""What must be as before when a row is over."""
ELBOW_ROOM = 16 << 10
"""Bytes by which the ledger may differ, for what is on its way to the canary."""


class Told(NamedTuple):
    """How the application was told that a connection ended."""

    code: int
    name: str
    by: str
    reason: str
    dropped: int


class Stage:
    """A server of a profile behind a transport, with a canary; close it, or leave its `with`."""

    def __init__(self, profile: Profile, transport: str) -> None:
        self.profile, self.transport = profile, transport
        self.context = authority().client_context() if transport == "tls" else None
        settings = dict(COMMON) | dict(profile.settings) | dict(profile.made())
        if self.context is not None:
            settings |= authority().server_fields()
        options = {
            "settings": settings,
            "has_on_connect": profile.has_on_connect,
            "descriptors": profile.descriptors,
            # The loops are told apart above the transport only, so each of them is tried once.
            "uvloop": transport == "tls",
        }
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the stage
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.protocol.rows.server", json.dumps(options)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self.process = psutil.Process(self._process.pid)
        self._peers: list[Peer] = []
        self._known_endings: list[Told] = []
        self.canary: Canary | None = None
        try:
            self.address = ("127.0.0.1", int(self._answer()))
            self.canary = Canary(self.connect_for_good, settings["ping_interval"], profile.headers())
            # The canary's handler, too, has begun.
            self.canary.check(0)
        except BaseException:
            self.close()
            raise

    # Questions to the application.

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server's process has ended:\n{self.said()}"
        found = json.loads(line)
        assert "error" not in found, found["error"]
        return found["answer"]

    def ask(self, what: str, **arguments: Any) -> Any:
        """Calls a method of `Target`, in the server's process."""
        assert self._process.stdin is not None
        print(json.dumps({"what": what} | arguments), file=self._process.stdin, flush=True)
        return self._answer()

    def said(self) -> str:
        """What its process wrote to stderr."""
        self._said.seek(0)
        return self._said.read()

    def endings(self, count: int) -> list[Told]:
        """Waits until that many connections have ended, and hands them out."""

        def are_there() -> bool:
            self._known_endings += [Told(*one) for one in self.ask("take_endings")]
            return len(self._known_endings) >= count

        assert eventually(are_there, PATIENCE), f"{len(self._known_endings)} of {count} ended"
        taken, self._known_endings = self._known_endings, []
        assert len(taken) == count, taken
        return taken

    def counts(self) -> dict[str, int]:
        """What its process holds."""
        found: dict[str, int] = self.ask("counts")
        return found

    @property
    def resident(self) -> int:
        """Bytes of memory that its process has."""
        return int(self.process.memory_info().rss)

    def forget_peak(self) -> None:
        """Lets `peak` begin anew."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    @property
    def peak(self) -> int:
        """The most bytes of memory that its process has had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1_024

    @property
    def cpu(self) -> float:
        """Seconds of processor time that its process has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    # Peers.

    def connect(self, *, tls: bool = True, **options: Any) -> Peer:
        """A peer that has shaken no hands but, with `tls`, those of the transport."""
        peer = Peer(self.address, tls=self.context if tls else None, **options)
        self._peers.append(peer)
        return peer

    def connect_for_good(self) -> Peer:
        """A peer that stays when those of a run are dismissed."""
        return Peer(self.address, tls=self.context)

    def open(self, path: str = "/echo", *headers: tuple[str, str], **options: Any) -> Peer:
        """A peer that has shaken hands."""
        peer = self.connect(**options)
        peer.upgrade(path, *self.profile.headers(), *headers)
        return peer

    def dismiss(self) -> None:
        """Closes the peers of a run."""
        while self._peers:
            self._peers.pop().close()

    # The whole of a case.

    def play(self, case: Case, repeats: int) -> None:
        """Runs a case again and again; nothing may be left of it."""
        assert self.canary is not None
        assert eventually(lambda: self._is_at_rest({"occupied": 1, "pending": 0}))
        self.ask("take_endings")
        self.ask("take_records")
        before, resident = self.counts(), self.resident
        try:
            for number in range(repeats):
                case.run(self)
                self.dismiss()
                if number == 0 and repeats > 1:
                    # What is made once and kept is there now.
                    assert eventually(lambda: self._is_at_rest(before))
                    resident = self.resident
        finally:
            self.dismiss()
        if case.ending is not None:
            told = {(one.code, one.name, one.by) for one in self.endings(repeats)}
            assert told == {(case.ending.code, case.ending.name, case.ending.by)}
        assert eventually(lambda: self._is_at_rest(before)), f"before {before}, after {self.counts()}"
        self.canary.check(self.counts()["published"])
        grown = self.resident - resident
        assert grown < case.growth, f"the process has grown by {grown:,} bytes"
        self._check_records(case, repeats)

    def _is_at_rest(self, before: dict[str, int]) -> bool:
        now = self.counts()
        return all(now[name] == before[name] for name in BACK if name in before) and (
            now["memory"] <= before.get("memory", now["memory"]) + ELBOW_ROOM
        )

    def _check_records(self, case: Case, repeats: int) -> None:
        records = self.ask("take_records")
        for _, message, _ in records:
            # One line each, and nothing of what a peer keeps to itself.
            assert message.isprintable(), message
            assert "secret" not in message, message
        errors = [message for level, message, _ in records if level == "ERROR"]
        assert len(errors) == case.errors * repeats, errors

    # Its end.

    def close(self) -> None:
        """Ends the server in peace; fails if its canary or its process does not."""
        try:
            self.dismiss()
            if self.canary is not None:
                self.canary.stop()
            assert self._process.stdin is not None
            self._process.stdin.close()
            code = self._process.wait(PATIENCE)
            assert (code, self.said()) == (0, ""), f"exit code {code}:\n{self.said()}"
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._said.close()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def within(began: float, least: float, most: float) -> None:
    """Whether a deadline was kept; a busy machine may add a second and a half."""
    seconds = time.monotonic() - began
    assert least - 0.1 <= seconds <= most + 1.5, f"{seconds:.2f} s"


def many_descriptors() -> None:
    """Lets this process have some thousand, for cases with a thousand peers at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4_096:
        enough = 4_096 if hard == resource.RLIM_INFINITY else min(4_096, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
