"""Receives a server's address · hands out what a connection of good behaviour suffered there · owns that connection,
and the thread that sings on it all the time.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable

from tests.support.frames import PING, PONG, TEXT, Frame, frame
from tests.support.raw import Headers, Peer
from tests.support.servers import eventually

LATE = 1.0
"""Seconds by which a busy machine may have this process read a ping too late."""


class Canary:
    """Echoes, pings, answers pings, and is sent numbered publications, of which none may be missing.

    Attributes:
        number: of the last publication.
        slowest_pong: seconds that the slowest answer to its pings took since the last `rest`; shards give it
            without Python.
    """

    def __init__(self, connect: Callable[[], Peer], interval: float, headers: Headers) -> None:
        self._peer = connect()
        self._peer.upgrade("/canary", *headers)
        self._interval = interval
        self.number = -1
        self.echoes = 0
        self.pings = 0
        self.slowest_pong = 0.0
        self._last_ping = time.monotonic()
        self._longest_silence = 0.0
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sing, name="canary")
        self._thread.start()

    def _sing(self) -> None:
        try:
            # Paced: the processor is for the rows, and max_control_rate holds for the canary as for everybody.
            while not self._stop.wait(0.02):
                self._echo()
        except BaseException as error:
            self._failure = error

    def _echo(self) -> None:
        text, stamp = b"echo %d" % self.echoes, struct.pack("!d", time.monotonic())
        self._peer.send(frame(TEXT, text), frame(PING, stamp))
        expected = [Frame(PONG, stamp), Frame(TEXT, text)]
        while expected:
            one = self._peer.any_frame()
            if one.opcode == PING:
                self._pinged(one.payload)
            elif one.opcode == TEXT and one.payload.isdigit():
                number = int(one.payload)
                assert self.number in (-1, number - 1), f"{number} came after {self.number}"
                self.number = number
            else:
                assert one in expected, f"{one} is neither of {expected}"
                expected.remove(one)
                if one.opcode == PONG:
                    self.slowest_pong = max(
                        self.slowest_pong, time.monotonic() - struct.unpack("!d", stamp)[0]
                    )
        self.echoes += 1

    def _pinged(self, payload: bytes) -> None:
        self._peer.send(frame(PONG, payload))
        now = time.monotonic()
        self._longest_silence = max(self._longest_silence, now - self._last_ping)
        self._last_ping = now
        self.pings += 1

    def rest(self) -> None:
        """Forgets what was slow so far."""
        self.slowest_pong = 0.0

    def check(self, published: int) -> None:
        """Waits for the answer to what it says now and for the publication of that number; fails if anything was
        lost, or heartbeats were off their interval.
        """
        goal = self.echoes + 2
        eventually(lambda: self._failure or (self.echoes >= goal and self.number >= published), 10)
        assert self._failure is None, f"the canary died after {self.echoes} echoes"
        assert self.echoes >= goal, "the canary's echo did not come back"
        assert self.number >= published, f"publication {published} did not come after {self.number}"
        silence = max(self._longest_silence, time.monotonic() - self._last_ping)
        assert silence <= self._interval + LATE, f"no ping for {silence:.2f} s"

    def stop(self) -> None:
        """Leaves."""
        self._stop.set()
        self._thread.join()
        self._peer.close()
        if self._failure is not None:
            raise AssertionError(f"the canary died after {self.echoes} echoes") from self._failure
