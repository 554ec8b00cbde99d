"""Receives nothing · hands the registry the rows of floods: more frames, pings or promises of bytes than anybody
needs · owns how such peers behave.
"""

from __future__ import annotations

import contextlib
import time

from tests.protocol.rows.profiles import AT_ONCE, BEATING, CROWD, FRAME_RATE, HURRIED, PLAIN, RATES
from tests.protocol.rows.registry import MIB, VIOLATION, Ending, row
from tests.protocol.rows.stage import Stage, many_descriptors, within
from tests.support.frames import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, frame
from tests.support.servers import eventually

F10 = row(
    "F10",
    "1,000 peers declare a frame of 1 MiB and send a byte of it",
    "nothing is reserved: below 20 MiB together; 1008 at `message_timeout`",
)


@F10.case("1,000 peers", CROWD, cost=100, least=1, growth=20 * MIB)
def declared_frames(stage: Stage) -> None:
    many_descriptors()
    peers = [stage.open("/listen") for _ in range(1_000)]
    assert eventually(lambda: stage.counts()["handlers"] == 1 + len(peers))
    before, held = stage.resident, stage.counts()["memory"]
    began = time.monotonic()
    for peer in peers:
        peer.send(frame(BINARY, b"x", declared=MIB))
    # The ledger counts what is really held: all of them have been read, and hold next to nothing.
    assert eventually(lambda: stage.counts()["memory"] >= held + len(peers))
    assert stage.counts()["memory"] < held + 2 * MIB
    assert stage.resident - before < 20 * MIB
    for peer in peers:
        code, reason = peer.closed()
        assert (code, "message_timeout" in reason) == (1008, True)
        # An answer would be taken for what was promised.
        peer.close()
    deadline = CROWD.settings["message_timeout"]
    within(began, deadline, deadline + 1)
    assert {one.code for one in stage.endings(len(peers))} == {1008}


F13 = row(
    "F13",
    "1,000,000 empty messages",
    "taken at the handler's pace, with `max_frame_rate` at that rate; the others feel nothing either way",
)
MANY = 1_000_000
# DESIGN: 20 ms more at the 99th percentile of a quiet machine; here the machine is shared with whatever else runs.
NEIGHBOURS = 1.0


# How far Python is behind differs from one time to the next, and with it what the allocators keep: the second time took
# up to 10 MiB more than the first, and eight times no more than two.
@F13.case("empty messages", PLAIN, cost=100, growth=16 * MIB)
def empty_messages(stage: Stage) -> None:
    assert stage.canary is not None
    stage.canary.rest()
    listened = stage.ask("seen")["listened"]
    peer = stage.open("/listen")
    part = frame(TEXT) * (MANY // 100)
    peer.socket.settimeout(60)
    for _ in range(100):
        peer.send(part)
    # Everything before this has been read.
    peer.send(frame(PING, b"done"))
    assert peer.frame() == Frame(PONG, b"done")
    assert eventually(lambda: stage.ask("seen")["listened"] == listened + MANY, 30)
    assert stage.canary.slowest_pong < NEIGHBOURS


@F13.case("empty continuations", PLAIN, ending=Ending(1008, VIOLATION, "server"))
def empty_continuations(stage: Stage) -> None:
    peer = stage.open("/listen")
    peer.flood(frame(TEXT, final=False) + frame(CONTINUATION, final=False) * (MANY // 10))
    assert peer.closed()[0] == 1008


# What the first batches of so many messages take is kept, and a run of two seconds is not for a warming-up.
@F13.case("empty messages above the rate", RATES, cost=100, least=1, growth=32 * MIB)
def empty_messages_above_the_rate(stage: Stage) -> None:
    assert stage.canary is not None
    stage.canary.rest()
    listened = stage.ask("seen")["listened"]
    peer = stage.open("/listen")
    peer.socket.settimeout(0.2)
    part = frame(TEXT) * 10_000
    began = time.monotonic()
    while time.monotonic() - began < 2:
        # Nobody reads: TCP holds it back.
        with contextlib.suppress(TimeoutError):
            peer.socket.send(part)
    taken = stage.ask("seen")["listened"] - listened
    seconds = time.monotonic() - began
    # A second's worth may come at once.
    assert FRAME_RATE <= taken <= FRAME_RATE * (seconds + 2), f"{taken:,} in {seconds:.1f} s"
    assert stage.canary.slowest_pong < NEIGHBOURS


F20 = row("F20", "100,000 pings at once", "1008 above `max_control_rate`")


@F20.case("100,000", PLAIN, cost=2, ending=Ending(1008, VIOLATION, "server"))
def ping_flood(stage: Stage) -> None:
    peer = stage.open()
    peer.flood(frame(PING, b"ping") * 100_000)
    while (one := peer.frame()).opcode == PONG:
        assert one.payload == b"ping"
    assert (one.code, "max_control_rate" in one.reason) == (1008, True)


F21 = row(
    "F21",
    "pings without end from a peer that reads nothing",
    "at most one pong waits; 1008 above `max_control_rate`, without one reset at `write_timeout`",
)
for title, profile in (("rate", HURRIED), ("no rate", RATES)):

    def unread_pings(stage: Stage, is_limited: bool = profile is HURRIED) -> None:
        peer = stage.open(receive_buffer=16_384)
        held = stage.counts()["memory"]
        flood = b"".join(frame(PING, b"%0125d" % number) for number in range(2_000))
        peer.socket.settimeout(20)
        began = time.monotonic()
        most = 0
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 20:
                peer.send(flood)
                most = max(most, stage.counts()["memory"])
        [told] = stage.endings(1)
        if is_limited:
            assert (told.code, told.name) == (1008, VIOLATION)
            assert "max_control_rate" in told.reason
        else:
            assert told.name == "write_timeout"
        assert most <= held + MIB

    F21.add(title, unread_pings, profile, cost=50)

F22 = row(
    "F22",
    "pongs that nobody asked for, pongs with the wrong payload",
    "ignored, and no task is made for them; a wrong one is life like any byte, and measures nothing",
)


@F22.case("unasked", PLAIN)
def unasked_pongs(stage: Stage) -> None:
    peer = stage.open("/held")
    assert eventually(lambda: stage.ask("held"))
    tasks = stage.counts()["tasks"]
    peer.send(frame(PONG, b"unasked") * 80)
    peer.send(frame(PING, b"and this"))
    assert peer.frame() == Frame(PONG, b"and this")
    assert stage.counts()["tasks"] == tasks
    assert stage.ask("held") == [["OPEN", None]]


@F22.case("without end", PLAIN, ending=Ending(1008, VIOLATION, "server"))
def pong_flood(stage: Stage) -> None:
    peer = stage.open()
    peer.flood(frame(PONG, b"unasked") * 2_000)
    code, reason = peer.closed()
    assert (code, "max_control_rate" in reason) == (1008, True)


@F22.case("with the wrong payload", BEATING, cost=50)
def wrong_pong(stage: Stage) -> None:
    peers = [stage.open("/held") for _ in range(AT_ONCE)]
    for peer in peers:
        assert peer.any_frame().opcode == PING
        peer.send(frame(PONG, b"wrong"))
    for peer in peers:
        # It is asked again, so it was alive.
        assert peer.any_frame().opcode == PING
    assert stage.ask("held") == [["OPEN", None]] * len(peers)
