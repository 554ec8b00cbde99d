"""Receives nothing · hands the registry the rows of endings: what peers do around a Close, and what an application does
wrong · owns how the peer and the application see them.
"""

from __future__ import annotations

import time

from tests.protocol.rows.profiles import AT_ONCE, HURRIED, PLAIN
from tests.protocol.rows.registry import Ending, row
from tests.protocol.rows.stage import Stage, within
from tests.protocol.rows.wrong_calls import WRONG_CALLS
from tests.support.frames import PING, PONG, TEXT, Frame, close, frame
from tests.support.servers import eventually

F18 = row("F18", "data, pings or a second Close behind a Close", "ignored; the socket goes at once")


@F18.case("behind its Close", PLAIN, ending=Ending(4001, "peer_closed", "peer"))
def late_frames(stage: Stage) -> None:
    listened = stage.ask("seen")["listened"]
    peer = stage.open("/listen")
    late = frame(TEXT, b"late"), frame(PING, b"late"), close(4000, b"late")
    peer.send(frame(TEXT, b"in time"), close(4001, b"first"), *late)
    assert peer.closed() == (4001, "")
    assert peer.ending() == "FIN"
    peer.send(*late)
    assert eventually(lambda: stage.ask("seen")["listened"] > listened)
    assert stage.ask("seen")["listened"] == listened + 1


@F18.case("behind ours", HURRIED, cost=2, ending=Ending(1000, "closed", "application"))
def crossing_frames(stage: Stage) -> None:
    peer = stage.open("/held")
    assert eventually(lambda: stage.ask("held"))
    stage.ask("close_held", code=1000, reason="bye")
    assert peer.closed() == (1000, "bye")
    peer.send(frame(TEXT, b"crossing"), frame(PING, b"crossing"), close(1000))
    assert peer.ending() == "FIN"


@F18.case("and stays", HURRIED, cost=100)
def lingering(stage: Stage) -> None:
    # The peer does not end its direction: the socket lingers, but not for ever.
    peers = [stage.open() for _ in range(AT_ONCE)]
    for peer in peers:
        peer.send(close(4001))
        assert peer.closed()[0] == 4001
        assert peer.ending() == "FIN"
    began = time.monotonic()
    assert eventually(lambda: stage.counts()["pending"] == 0)
    within(began, 0, 1)
    stage.endings(len(peers))


F19 = row("F19", "our Close is never answered", "reset at `close_timeout`; the application sees 1006, once")


@F19.case("many at once", HURRIED, cost=50)
def unanswered_close(stage: Stage) -> None:
    deadline = HURRIED.settings["close_timeout"]
    peers = [stage.open("/held") for _ in range(AT_ONCE)]
    assert eventually(lambda: len(stage.ask("held")) == len(peers))
    stage.ask("close_held", code=1000, reason="bye")
    for peer in peers:
        assert peer.closed() == (1000, "bye")
    began = time.monotonic()
    for peer in peers:
        assert peer.ending() == "RST"
        within(began, 0, deadline)
    told = {(one.code, one.name, one.by) for one in stage.endings(len(peers))}
    assert told == {(1006, "close_timeout", "server")}


F33 = row(
    "F33",
    "a handler raises: ValueError, KeyboardInterrupt, SystemExit; it returns something",
    "1011 on that connection only, logged once, and not what was raised; 1000 whatever was returned",
)
for error in ("ValueError", "KeyboardInterrupt", "SystemExit", "Sudden"):
    for title, path in ((error, f"/raise/{error}"), (f"{error} in on_message", f"/raise-at-once/{error}")):

        def raises(stage: Stage, path: str = path, error: str = error) -> None:
            neighbour, peer = stage.open(path), stage.open(path)
            peer.echo()
            peer.send(frame(TEXT, b"now"))
            # What was raised is for the log.
            assert peer.closed() == (1011, "internal error")
            peer.send(close(1011))
            assert peer.ending() == "FIN"
            [told] = stage.endings(1)
            assert (told.code, told.name, told.by) == (1011, "handler_raised", "application")
            assert [raised for *_, raised in stage.ask("take_records")] == [error]
            neighbour.echo()
            neighbour.send(close())
            assert neighbour.closed()[0] is None
            stage.endings(1)

        F33.add(title, raises, PLAIN, cost=4)

for value in ("None", "a number", "a Reject", "an exception"):

    def returns(stage: Stage, path: str = f"/return/{value.replace(' ', '-')}") -> None:
        peer = stage.open(path)
        assert peer.frame() == Frame(TEXT, b"last")
        assert peer.closed() == (1000, "")
        peer.send(close(1000))
        assert peer.ending() == "FIN"

    F33.add(f"returns {value}", returns, PLAIN, ending=Ending(1000, "closed", "application"))

F34 = row(
    "F34",
    "the application closes with 1005 or a reason above 123 bytes, sends what cannot be sent",
    "ValueError or TypeError; nothing of it on the wire, and the connection stays",
)
for call, (_, expected) in WRONG_CALLS.items():

    def wrong(stage: Stage, call: str = call, raised: bytes = expected.__name__.encode()) -> None:
        peer = stage.open("/wrong")
        peer.send(frame(TEXT, call.encode()))
        # The next thing on the wire is the next message.
        assert peer.frame() == Frame(TEXT, raised)
        peer.send(frame(PING, b"still there"))
        assert peer.frame() == Frame(PONG, b"still there")

    F34.add(call, wrong, PLAIN)
