"""Receives clients' connections, and orders from a test · hands each connection to a link with the faults in force ·
owns everything that lives behind its address: nothing is left when the proxy is.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Self, Unpack, cast

from .faults import DIRECTIONS, Changes, Direction, Faults, Scope, directions_of
from .link import Link
from .listener import Listener
from .record import Counters, Log
from .script import Gate, Script, Step

__all__ = ["ChaosProxy"]

# Entries of the log that a report shows, the last ones.
_SHOWN = 100
_CALM = cast(Changes, asdict(Faults()))


class ChaosProxy:
    """A proxy that does to connections what networks do: ``async with ChaosProxy("127.0.0.1", 8000) as proxy``.

    It listens on loopback, on a port of the system's choice, and hands bytes to the target and back. Orders act when
    they are given, on connections that live and on those to come. It needs no rights, and belongs to the event loop
    that it was entered in. When the block is left by an exception, `report()` is added to it as a note.

    Args:
        target_host: whom to connect to.
        target_port: its port.
        target_unix_socket: instead of both, the path of the target's Unix socket.
        unix_socket: listens on this path instead of a port; it must not exist.
        host: listens on this address.
        seed: where everything random comes from; `None`: a new one, which `report()` names. The same seed makes the
            same of the same bytes.
        faults: those of new connections, in both directions; `None`: none.

    Attributes:
        seed: as given or drawn.
        counters: what was counted, for reading.
        log: what was done, with times.
        steps: the orders that were given, as a script that gives them again.
    """

    def __init__(
        self,
        target_host: str = "127.0.0.1",
        target_port: int = 0,
        *,
        target_unix_socket: str | os.PathLike[str] | None = None,
        unix_socket: str | os.PathLike[str] | None = None,
        host: str = "127.0.0.1",
        seed: int | None = None,
        faults: Faults | None = None,
    ) -> None:
        if target_unix_socket is None and not 0 < target_port < 65_536:
            raise ValueError(
                f"target_port={target_port!r} must be from 1 to 65535, or name target_unix_socket"
            )
        self.seed = random.getrandbits(32) if seed is None else seed
        self.counters = Counters()
        self.log = Log()
        self.steps: list[Step] = []
        self._target = (
            (target_host, target_port) if target_unix_socket is None else os.fspath(target_unix_socket)
        )
        self._path = None if unix_socket is None else os.fspath(unix_socket)
        self._host = host
        self._faults: dict[Direction, Faults] = dict.fromkeys(DIRECTIONS, faults or Faults())
        self._listener: Listener | None = None
        self._links: dict[asyncio.Task[None], Link] = {}
        self._gate = Gate()
        self._arrivals: deque[float] = deque(maxlen=10_000)
        self._arrived = asyncio.Event()
        self._last_order = time.monotonic()

    # Its life.

    async def __aenter__(self) -> Self:
        if self._listener is not None:
            raise RuntimeError("a ChaosProxy is entered once; make another one")
        self._loop = asyncio.get_running_loop()
        self._listener = Listener(self._host, self._path, self._accept)
        self._listener.listen()
        self._last_order = time.monotonic()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._gate.script is not None:
            self._gate.script.stop()
        self._entered().close()
        for task in self._links:
            task.cancel()
        outcomes = await asyncio.gather(*self._links, return_exceptions=True)
        if error is not None:
            error.add_note(self.report())
            return
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    @property
    def port(self) -> int:
        """Where it listens; 0 for a Unix socket.

        Raises:
            RuntimeError: it was not entered yet.
        """
        return self._entered().port

    def url(self, path: str = "/", *, scheme: str = "ws") -> str:
        """An address of what is behind the proxy.

        Args:
            path: begins with a slash, and may have a query.
            scheme: ``wss`` where the target speaks TLS, which passes through.
        """
        port = self.port
        if self._path is not None:
            return f"{scheme}://localhost{path}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{port}{path}"

    # Orders.

    def disturb(
        self, *, direction: Direction | None = None, scope: Scope = "all", **change: Unpack[Changes]
    ) -> None:
        """Sets faults; those that are not named stay as they are. Acts at once, also on bytes on their way.

        Args:
            direction: `None`: both.
            scope: ``"live"``: the connections there are; ``"new"``: those to come; ``"all"``: both.
            change: fields of `Faults`.

        Raises:
            ValueError: a fault, a direction or a scope that there is not.
        """
        self._perform(Step(action="disturb", direction=direction, scope=scope, change=change))

    def restore(self) -> None:
        """Takes all faults away and accepts again. What was lost in a black hole stays lost."""
        self._perform(Step(action="restore"))

    def refuse(self) -> None:
        """Refuses new connections (ECONNREFUSED) until `restore`. Those there are live on."""
        self._perform(Step(action="refuse"))

    def reset(self) -> None:
        """Both sides of every connection get an RST."""
        self._perform(Step(action="reset"))

    def half_close(self, direction: Direction) -> None:
        """Whoever receives in this direction gets a FIN; what the other one still sends is swallowed.

        Args:
            direction: ``"upstream"``: the target gets it; ``"downstream"``: the clients do.
        """
        self._perform(Step(action="half_close", direction=direction))

    def script(self, steps: Iterable[Step]) -> asyncio.Future[None]:
        """Begins to give these orders, at their times; returns what may be awaited until the last was given.

        Args:
            steps: what to do; `random_steps(seed)` makes some, and `steps` of another proxy repeats what it did.

        Raises:
            RuntimeError: another script is not over, or the proxy does not run.
        """
        self._entered()
        if self._gate.script is not None and not self._gate.script.over.done():
            raise RuntimeError("a script plays already; await it, or put its steps and these into one")
        self._gate.script = Script(list(steps), self._perform, self._loop.create_future())
        self._gate.script.start()
        return self._gate.script.over

    def _perform(self, step: Step) -> None:
        listener = self._entered()
        now = time.monotonic()
        # One that waited for bytes waits for them again; its time was what came before.
        self.steps.append(step if step.after_bytes else replace(step, after=now - self._last_order))
        self._last_order = now
        self.counters.orders += 1
        match step.action:
            case "disturb":
                self._change(step.direction, step.scope, step.change)
                words = ", ".join(f"{name}={value!r}" for name, value in step.change.items())
                self.log.add(f"{words} for {step.scope} connections", direction=step.direction)
            case "restore":
                self._change(None, "all", _CALM)
                listener.listen()
                self.log.add("restored")
            case "refuse":
                listener.refuse()
                self.log.add("new connections are refused")
            case "reset":
                for link in self._links.values():
                    link.reset()
                self.counters.resets += len(self._links)
                self.log.add(f"{len(self._links)} connections reset")
            case "half_close":
                [direction] = directions_of(step.direction)
                for link in self._links.values():
                    link.half_close(direction)
                self.log.add(f"{len(self._links)} connections half-closed", direction=direction)

    def _change(self, direction: Direction | None, scope: Scope, change: Changes) -> None:
        for one in directions_of(direction):
            if scope in ("all", "new"):
                self._faults[one] = replace(self._faults[one], **change)
            if scope in ("all", "live"):
                for link in self._links.values():
                    link.change(one, replace(link.faults(one), **change))

    # Connections.

    async def arrival(self, after: float = 0.0) -> float:
        """Waits for the first connection that was accepted after that moment; its own `time.monotonic()`.

        Args:
            after: a `time.monotonic()`; 0: the very first connection, or of the last 10,000 the first.
        """
        while True:
            for moment in self._arrivals:
                if moment > after:
                    return moment
            await self._arrived.wait()

    def _accept(self, near: socket.socket) -> None:
        self._arrivals.append(time.monotonic())
        self._arrived.set()
        self._arrived.clear()
        self.counters.connections += 1
        self.counters.open += 1
        link = Link(
            self.counters.connections,
            near,
            self._target,
            faults=self._faults,
            seed=self.seed,
            gate=self._gate,
            counters=self.counters,
            log=self.log,
        )
        task = self._loop.create_task(link.run(), name=f"chaos connection {link.number}")
        self._links[task] = link
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        # Also one that was cancelled before its first turn.
        self._links.pop(task).close(is_reset=False)
        self.counters.open -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": f"{task.get_name()} failed", "exception": error, "task": task}
            )

    # What was done.

    def report(self) -> str:
        """The seed, the counters and the end of the log, for people."""
        earlier = max(0, len(self.log) - _SHOWN)
        return "\n".join(
            [
                f"ChaosProxy in front of {self._target}, seed={self.seed}",
                ", ".join(f"{name} {value:,}" for name, value in asdict(self.counters).items()),
                *([f"{earlier:,} earlier entries are in its log"] if earlier else []),
                *map(str, self.log.entries[earlier:]),
                *([f"and {self.log.left_out:,} more"] if self.log.left_out else []),
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """Seed, counters, steps and log as JSON can hold them."""
        return {
            "seed": self.seed,
            "counters": asdict(self.counters),
            "steps": [asdict(step) for step in self.steps],
            "log": self.log.as_list(),
            "left_out": self.log.left_out,
        }

    def _entered(self) -> Listener:
        if self._listener is None:
            raise RuntimeError("the proxy does not run yet: write `async with ChaosProxy(…) as proxy`")
        return self._listener
