"""Receives nothing · hands the registry the rows of peers that do not read, read slowly or are gone · owns how such
peers behave.
"""

from __future__ import annotations

import contextlib
import threading
import time

from tests.protocol.rows.profiles import AT_ONCE, BEATING, BEATS, HURRIED, PLAIN
from tests.protocol.rows.registry import row
from tests.protocol.rows.stage import Stage, within
from tests.support.frames import CLOSE, PONG, TEXT, Frame, frame
from tests.support.raw import Peer

F25 = row(
    "F25",
    "half-open: nothing comes any more, neither FIN nor RST",
    "reset at `ping_interval` + `ping_timeout`; 1006 for the application",
)
DEAD = BEATS["ping_interval"] + BEATS["ping_timeout"]


@F25.case("many at once", BEATING, cost=100)
def half_open(stage: Stage) -> None:
    peers = [stage.open() for _ in range(AT_ONCE)]
    began = time.monotonic()
    for number, peer in enumerate(peers):
        if number % 2:
            # Pings come, and are not answered.
            peer.lost()
    told = {(one.code, one.name, one.by) for one in stage.endings(len(peers))}
    within(began, BEATS["ping_timeout"], DEAD)
    assert told == {(1006, "heartbeat_lost", "server")}


F26 = row(
    "F26",
    "a subscriber that reads nothing while everybody is published to",
    "`disconnect`: 4008 at the cap; `drop_oldest`: it stays, what it lost is counted; good readers get everything",
)
HIGH, MAX = 64 * 1024, 2 << 20


class Reader:
    """A subscriber that reads all the time, from a thread of its own."""

    def __init__(self, stage: Stage, channel: str) -> None:
        self.numbers: list[int] = []
        self._peer = stage.open(f"/news/{channel}")
        assert self._peer.frame() == Frame(TEXT, b"welcome")
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        # Whether it has read everything is for the case to say.
        with contextlib.suppress(OSError, AssertionError):
            while (one := self._peer.frame()).opcode != CLOSE:
                self.numbers.append(int(one.payload[:8]))

    def all(self, count: int) -> bool:
        """Whether it got exactly so many, in order."""
        deadline = time.monotonic() + 10
        while len(self.numbers) < count and time.monotonic() < deadline:
            self._thread.join(0.01)
        return self.numbers == list(range(count))

    def leave(self) -> None:
        self._peer.socket.shutdown(2)
        self._thread.join()


def _stopped(stage: Stage, channel: str) -> Peer:
    """A subscriber that has read that it is one, and reads no more."""
    slow = stage.open(f"/news/{channel}", receive_buffer=4_096)
    assert slow.frame() == Frame(TEXT, b"welcome")
    return slow


@F26.case("disconnect", HURRIED, cost=50)
def stopped_reader_is_disconnected(stage: Stage) -> None:
    slow = _stopped(stage, "ending")
    good = Reader(stage, "ending")
    found = stage.ask("storm", channel="ending", dropped=0)
    assert HIGH < found["most"] <= MAX
    [told] = stage.endings(1)
    assert (told.code, told.name) == (4008, "slow_consumer")
    # Value or limit are in the reason.
    assert str(HIGH) in told.reason or str(MAX) in told.reason
    assert good.all(found["published"])
    # Its socket took no Close, so it ends in a reset.
    assert slow.discard() == "RST"
    good.leave()
    stage.endings(1)


@F26.case("drop_oldest", PLAIN, cost=50)
def stopped_reader_loses_the_oldest(stage: Stage) -> None:
    slow = _stopped(stage, "dropping")
    good = Reader(stage, "dropping")
    found = stage.ask("storm", channel="dropping", dropped=500)
    assert HIGH < found["most"] <= MAX
    assert good.all(found["published"])
    numbers: list[int] = []
    while not numbers or numbers[-1] != found["published"] - 1:
        numbers.append(int(slow.frame().payload[:8]))
    # In order, none twice.
    assert numbers == sorted(set(numbers))
    slow.close()
    good.leave()
    dropped = {one.dropped for one in stage.endings(2)}
    # What is missing was counted, and nothing else.
    assert dropped == {0, found["published"] - len(numbers)}


F27 = row(
    "F27",
    "a reader of a few bytes at a time, which makes progress all the time",
    "4008 at `max_lag`, the age of what waits",
)


# Each of them has 400 kB waiting.
@F27.case("many at once", HURRIED, cost=100, growth=24 << 20)
def drip(stage: Stage) -> None:
    peers = [stage.open("/big", receive_buffer=4_096) for _ in range(AT_ONCE)]
    taken = dict.fromkeys(peers, 0)
    began, pace, turns, ended = time.monotonic(), threading.Event(), 0, 0
    while ended < len(peers) and time.monotonic() - began < 10:
        for peer in peers:
            peer.socket.settimeout(0.001)
            with contextlib.suppress(OSError):
                taken[peer] += len(peer.socket.recv(2_048))
                if turns % 10 == 0:
                    # It is alive, so nothing but what waits for it can end it.
                    peer.send(frame(PONG))
        pace.wait(0.02)
        turns += 1
        ended = stage.ask("peek_endings")
    within(began, HURRIED.settings["max_lag"], HURRIED.settings["max_lag"])
    told = stage.endings(len(peers))
    assert {(one.code, one.name) for one in told} == {(4008, "lagging")}, told
    assert all("max_lag" in one.reason for one in told)
    assert min(taken.values()) > 20_000
