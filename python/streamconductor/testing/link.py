"""Receives an accepted socket · hands its bytes to the target and back through two flows · owns both sockets, and how
they end: by FIN, by RST, or without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping

from .dice import Dice
from .faults import DIRECTIONS, Direction, Faults
from .flow import Flow
from .record import Counters, Log
from .script import Gate

__all__ = ["Link", "open_socket"]

# Bytes that the kernel keeps for each side of a socket. Its own choice would be megabytes, and a reader that stops
# would be felt by the sender only when these are full.
_KERNEL_BUFFER = 65_536


def open_socket(family: int) -> socket.socket:
    """A socket for the event loop, with small buffers."""
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        opened.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BUFFER)
    return opened


class Link:
    """A connection through the proxy.

    Args:
        number: from 1, in the order of arrival.
        near: the socket that was accepted.
        target: where to go: an address of TCP, or the path of a Unix socket.
    """

    def __init__(
        self,
        number: int,
        near: socket.socket,
        target: tuple[str, int] | str,
        *,
        faults: Mapping[Direction, Faults],
        seed: int,
        gate: Gate,
        counters: Counters,
        log: Log,
    ) -> None:
        self.number = number
        self._near = near
        self._far: socket.socket | None = None
        self._target = target
        self._faults: dict[Direction, Faults] = {}
        self._flows: dict[Direction, Flow] = {}
        self._seed = seed
        self._gate = gate
        self._counters = counters
        self._log = log
        self._over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._ended: set[Direction] = set()
        # In which a black hole has been: of what it swallowed nobody must hear, not even of an end.
        self._dark: set[Direction] = set()
        for direction, each in faults.items():
            self.change(direction, each)

    # Orders.

    def faults(self, direction: Direction) -> Faults:
        """Those in force."""
        return self._faults[direction]

    def change(self, direction: Direction, faults: Faults) -> None:
        """Sets the faults of a direction."""
        self._faults[direction] = faults
        if faults.black_hole:
            self._dark.add(direction)
        if direction in self._flows:
            self._flows[direction].change(faults)

    def half_close(self, direction: Direction) -> None:
        """Ends a direction for its receiver alone."""
        if direction in self._flows:
            self._flows[direction].end_sink()

    def reset(self) -> None:
        """Both sides get an RST."""
        if not self._over.done():
            self._over.set_result(True)

    # Its life.

    async def run(self) -> None:
        """Carries bytes until both sides have ended; closes both sockets whatever happens."""
        is_reset = False
        try:
            await self._connect()
            is_reset = await self._carry()
        except OSError as error:
            self._counters.unreachable += 1
            self._log.add(f"the target is unreachable: {error}", self.number)
            is_reset = True
        finally:
            self.close(is_reset=is_reset)

    def close(self, *, is_reset: bool) -> None:
        """Closes both sockets, if they are open: by an RST, or by a FIN."""
        for each in filter(None, (self._near, self._far)):
            _close(each, is_reset)

    async def _connect(self) -> None:
        if len(self._dark) == len(DIRECTIONS):
            self._log.add("accepted and left in silence", self.number)
            return
        loop = asyncio.get_running_loop()
        if isinstance(self._target, str):
            self._far = open_socket(socket.AF_UNIX)
            await loop.sock_connect(self._far, self._target)
            return
        [(family, _, _, _, address), *_] = await loop.getaddrinfo(*self._target, type=socket.SOCK_STREAM)
        self._far = open_socket(family)
        self._far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(self._far, address)

    async def _carry(self) -> bool:
        """Returns whether it ended by a reset."""
        self._add_flow("upstream", self._near, self._far)
        if self._far is not None:
            self._add_flow("downstream", self._far, self._near)
        running = [asyncio.create_task(flow.run()) for flow in self._flows.values()]
        try:
            return await self._over
        finally:
            for task in running:
                task.cancel()
            # Before the sockets are closed: a loop must not be left to watch what is closed.
            for outcome in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    def _add_flow(self, direction: Direction, source: socket.socket, sink: socket.socket | None) -> None:
        self._flows[direction] = flow = Flow(
            direction,
            source,
            sink,
            faults=self._faults[direction],
            dice=Dice(self._seed, self.number, direction),
            watcher=self,
        )
        if direction in self._dark:
            flow.discard()

    # What the flows tell.

    def allowance(self, direction: Direction) -> int:
        """What the script leaves."""
        return self._gate.allowance(direction)

    def passed(self, direction: Direction, count: int) -> None:
        """Counts them, and lets the script have its turn."""
        setattr(self._counters, direction, getattr(self._counters, direction) + count)
        self._gate.passed(direction, count)

    def swallowed(self, direction: Direction, count: int) -> None:
        """Counts them."""
        self._counters.swallowed += count

    def corrupted(self, direction: Direction, offset: int, bit: int) -> None:
        """Counts and logs it."""
        self._counters.corrupted += 1
        self._log.add(f"bit 0x{bit:02x} flipped", self.number, direction, offset)

    def source_reset(self, direction: Direction) -> None:
        """An RST passes on like everything else, at once: it is about what is on its way, too."""
        if direction not in self._dark:
            self.reset()
        elif self._far is None and not self._over.done():
            self._over.set_result(False)

    def sink_reset(self, direction: Direction) -> None:
        """The RST travels in the other direction."""
        self.source_reset("downstream" if direction == "upstream" else "upstream")

    def ended(self, direction: Direction) -> None:
        """Over when both have ended; with a half in silence that one's end may never be told to anybody."""
        self._ended.add(direction)
        if len(self._ended) == len(DIRECTIONS) and not self._over.done():
            self._over.set_result(False)


def _close(opened: socket.socket, is_reset: bool) -> None:
    if is_reset:
        with contextlib.suppress(OSError):
            # Lingering for no time is how a socket is told to send an RST.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.close()
