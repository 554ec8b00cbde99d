"""Receives the bytes of one direction of a connection · hands them to the other side late, slowly, in pieces, corrupted
or not at all · owns what is on its way, which is bounded: who sends faster than the other side reads is held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import deque
from typing import NamedTuple, Protocol

from .dice import Dice
from .faults import Direction, Faults

__all__ = ["CAPACITY", "Flow", "Watcher"]

CAPACITY = 262_144
"""Bytes that may be on their way in one direction, beside what the kernel holds."""

_CHUNK = 16_384
_PACKET = 1_460
# With a bandwidth, what is written at once takes at most that many seconds: so a change is felt soon.
_SHARE = 0.02
# How far behind its time a flow may be and still catch up: timers are late, and the rate must hold nevertheless.
_CATCH_UP = 0.05


class Watcher(Protocol):
    """The connection that a flow belongs to."""

    def allowance(self, direction: Direction) -> int:
        """How many bytes may pass before somebody must be asked again."""

    def passed(self, direction: Direction, count: int) -> None:
        """That many bytes were handed to the other side."""

    def swallowed(self, direction: Direction, count: int) -> None:
        """That many bytes were taken from the sender, and nobody gets them."""

    def corrupted(self, direction: Direction, offset: int, bit: int) -> None:
        """A bit was flipped."""

    def source_reset(self, direction: Direction) -> None:
        """Who sends in this direction has reset the connection."""

    def sink_reset(self, direction: Direction) -> None:
        """Who receives in this direction has reset the connection."""

    def ended(self, direction: Direction) -> None:
        """Nothing more comes from the sender."""


class _Packet(NamedTuple):
    taken: float
    luck: float
    data: bytes  # empty: the sender has ended


class Flow:
    """One direction of one connection.

    Args:
        source: is read.
        sink: is written to; `None`: there is nobody, and all is swallowed.
    """

    def __init__(
        self,
        direction: Direction,
        source: socket.socket,
        sink: socket.socket | None,
        *,
        faults: Faults,
        dice: Dice,
        watcher: Watcher,
    ) -> None:
        self.direction = direction
        self.faults = faults
        self.offset = 0
        """Bytes taken from the sender."""
        self._source = source
        self._sink = sink
        self._dice = dice
        self._watcher = watcher
        self._packets: deque[_Packet] = deque()
        self._on_the_way = 0
        self._written = 0
        self._discards = sink is None
        self._free_at = 0.0
        self._longest = 0
        self._boundary = 0
        self._room = asyncio.Event()
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._corrupt_from()

    def change(self, faults: Faults) -> None:
        """From now on these faults, also for what is on its way."""
        self.faults = faults
        self._corrupt_from()
        if faults.black_hole:
            self.discard()
        _wake(self._changed)

    def discard(self) -> None:
        """From now on, and for good, nothing passes and all is taken."""
        if not self._discards:
            self._discards = True
            self._watcher.swallowed(self.direction, self._on_the_way)
            self._on_the_way = 0
            self._packets.clear()
            # It may be in the middle of a write to somebody who does not read.
            if self._writing is not None:
                self._writing.cancel()
            _wake(self._room)

    def end_sink(self) -> None:
        """Half-close: the receiver gets a FIN now, the sender hears nothing, and its bytes are swallowed."""
        self.discard()
        if self._sink is not None:
            with contextlib.suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)

    async def run(self) -> None:
        """Carries bytes until the sender has ended and everything has arrived."""
        if not self._discards:
            self._writing = asyncio.create_task(self._write())
        try:
            await self._read()
            if self._writing is not None:
                await asyncio.wait([self._writing])
        finally:
            if self._writing is not None:
                self._writing.cancel()
                await asyncio.wait([self._writing])
                if not self._writing.cancelled():
                    self._writing.result()
        self._watcher.ended(self.direction)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._on_the_way >= CAPACITY:
                await self._room.wait()
            try:
                data = await loop.sock_recv(self._source, _CHUNK)
            except OSError:
                self._watcher.source_reset(self.direction)
                return
            if self._discards:
                self._watcher.swallowed(self.direction, len(data))
                self.offset += len(data)
            else:
                self._take(data)
            if not data:
                return

    def _take(self, data: bytes) -> None:
        now = time.monotonic()
        begin = 0
        while True:
            place = self.offset + begin
            size, luck = len(data), 0.0
            if self.faults.jitter:
                # Luck belongs to a place in the stream, so that it is the same however the bytes were read.
                size = _PACKET - place % _PACKET
                luck = self._dice.roll("jitter", place // _PACKET)
            self._packets.append(_Packet(now, luck, data[begin : begin + size]))
            begin += size
            if begin >= len(data):
                break
        self.offset += len(data)
        self._on_the_way += len(data)
        _wake(self._arrived)

    def _corrupt_from(self) -> None:
        """Looks for the next byte to corrupt, from here on."""
        probability = self.faults.corruption
        self._corrupt_next = self._dice.next_corrupt(self._written, probability) if probability else None

    def _corrupted(self, data: memoryview) -> memoryview:
        """What is to pass next, with its bits flipped."""
        begin, end = self._written, self._written + len(data)
        places = {place for place in self.faults.corrupt_at if begin <= place < end}
        while self._corrupt_next is not None and self._corrupt_next < end:
            if self._corrupt_next >= begin:
                places.add(self._corrupt_next)
            self._corrupt_next = self._dice.next_corrupt(self._corrupt_next + 1, self.faults.corruption)
        if not places:
            return data
        changed = bytearray(data)
        for place in sorted(places):
            bit = self._dice.bit(place)
            changed[place - begin] ^= bit
            self._watcher.corrupted(self.direction, place, bit)
        return memoryview(changed)

    async def _write(self) -> None:
        assert self._sink is not None
        while True:
            packet = await self._next()
            if not packet.data:
                with contextlib.suppress(OSError):
                    self._sink.shutdown(socket.SHUT_WR)
                return
            if not await self._pass(self._sink, packet.data):
                return

    async def _next(self) -> _Packet:
        """The next packet, when it is due."""
        while True:
            if not self._packets:
                await self._arrived.wait()
                continue
            packet = self._packets[0]
            late = packet.taken + self.faults.latency + self.faults.jitter * packet.luck - time.monotonic()
            if late <= 0:
                return self._packets.popleft()
            await self._pause(late)

    async def _pass(self, sink: socket.socket, data: bytes) -> bool:
        """Hands bytes over; False: there is nobody any more."""
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        while view:
            await self._pace(min(len(view), self._piece(), self._watcher.allowance(self.direction)))
            # Asked again: there may have been orders meanwhile.
            size = min(len(view), self._piece(), self._watcher.allowance(self.direction))
            try:
                await loop.sock_sendall(sink, self._corrupted(view[:size]))
            except OSError:
                self.discard()
                self._watcher.sink_reset(self.direction)
                return False
            view = view[size:]
            self._written += size
            self._on_the_way -= size
            _wake(self._room)
            self._watcher.passed(self.direction, size)
            # What was ordered because these bytes have passed comes before the next ones. Twice, so that a receiver in
            # this loop reads between two pieces: what the loop finds readable comes behind what it has to do anyway.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return True

    def _piece(self) -> int:
        """How many bytes the next write may have at most."""
        size = _CHUNK
        if self.faults.slicing is not None:
            size = self._rest_of_piece(self.faults.slicing)
        if self.faults.bandwidth:
            size = min(size, max(1, int(self.faults.bandwidth * _SHARE)))
        return size

    def _rest_of_piece(self, longest: int) -> int:
        """Pieces are cut where the seed says, whatever else has cut them."""
        if self._longest != longest or self._boundary <= self._written:
            self._longest = longest
            self._boundary = self._written + self._dice.length(self._written, longest)
        return self._boundary - self._written

    async def _pace(self, size: int) -> None:
        """Waits as long as that many bytes take, and forever while the bandwidth is 0."""
        begin = max(self._free_at, time.monotonic() - _CATCH_UP)
        while self.faults.bandwidth is not None:
            if self.faults.bandwidth == 0:
                await self._changed.wait()
                begin = time.monotonic()
                continue
            self._free_at = begin + size / self.faults.bandwidth
            remaining = self._free_at - time.monotonic()
            if remaining <= 0:
                return
            await self._pause(remaining)

    async def _pause(self, seconds: float) -> None:
        """Waits that long, or until the faults change."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()


def _wake(event: asyncio.Event) -> None:
    """Wakes whoever waits now, and nobody who will wait later."""
    event.set()
    event.clear()
