"""Receives nothing · hands the registry the rows of frames that break a rule · owns those frames."""

from __future__ import annotations

import time

from tests.protocol.rows.forms import all_fail, fails
from tests.protocol.rows.profiles import AT_ONCE, HURRIED, LIMIT, PLAIN
from tests.protocol.rows.registry import VIOLATION, Ending, row
from tests.protocol.rows.stage import Stage, within
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    UNMASKED,
    Frame,
    close,
    frame,
)
from tests.support.raw import head

F1 = row("F1", "a frame that is not masked", "1002")
all_fail(
    F1,
    {"text": frame(TEXT, b"hello", mask=UNMASKED), "close": frame(CLOSE, b"", mask=UNMASKED)},
    1002,
)

F2 = row("F2", "reserved bits", "1002")
all_fail(
    F2,
    {
        "RSV1": frame(TEXT, b"x", reserved=4),
        "RSV2": frame(TEXT, b"x", reserved=2),
        "RSV3": frame(TEXT, b"x", reserved=1),
        "all of them": frame(PING, reserved=7),
    },
    1002,
)

F3 = row("F3", "opcodes 3 to 7 and 11 to 15", "1002")
all_fail(F3, {f"{opcode}": frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}, 1002)

F4 = row(
    "F4", "a ping or close of 126 bytes, of 1 MiB", "1002 at the header, of which the payload is no part"
)
all_fail(
    F4,
    {
        "ping of 126 bytes": frame(PING, declared=126),
        "close of 126 bytes": frame(CLOSE, declared=126),
        "ping of 1 MiB": frame(PING, declared=1 << 20),
    },
    1002,
)

F5 = row("F5", "a ping, pong or close in fragments", "1002")
all_fail(
    F5,
    {
        "ping": frame(PING, final=False),
        "pong": frame(PONG, final=False),
        "close": frame(CLOSE, final=False),
    },
    1002,
)

F6 = row("F6", "a continuation of nothing; a message inside a message", "1002")
all_fail(
    F6,
    {
        "continuation of nothing": frame(CONTINUATION, b"x"),
        "continuation of a whole message": frame(PONG) + frame(CONTINUATION, b"x"),
        "a message inside a message": frame(TEXT, b"x", final=False) + frame(TEXT, b"y"),
        "binary inside text": frame(TEXT, b"x", final=False) + frame(BINARY, b"y"),
    },
    1002,
)

F7 = row("F7", "a length of 0x8000000000000001, of 2^63 - 1", "1002, 1009; nothing is reserved")
all_fail(F7, {"the top bit": frame(BINARY, declared=0x8000000000000001, width=8)}, 1002)
all_fail(F7, {"2^63 - 1": frame(BINARY, declared=2**63 - 1)}, 1009, reason=str(LIMIT))

F8 = row("F8", "a length in more bytes than it needs", "1002")
all_fail(
    F8,
    {
        "5 in 16 bits": frame(TEXT, b"hello", width=2),
        "5 in 64 bits": frame(TEXT, b"hello", width=8),
        "125 in 16 bits": frame(TEXT, b"x" * 125, width=2),
        "300 in 64 bits": frame(TEXT, b"x" * 300, width=8),
    },
    1002,
)

F9 = row("F9", "a length one above the limit", "1009 without the payload, naming the limit")
all_fail(F9, {"one above": frame(BINARY, declared=LIMIT + 1)}, 1009, reason=str(LIMIT))

F11 = row("F11", "fragments whose sum passes `max_message_size`", "1009 at the header that passes it")
all_fail(
    F11,
    {
        "two": frame(BINARY, b"x" * LIMIT, final=False) + frame(CONTINUATION, declared=1),
        "many": frame(BINARY, b"x" * 1_000, final=False)
        + frame(CONTINUATION, b"x" * 1_000, final=False) * 3
        + frame(CONTINUATION, declared=LIMIT - 3_999),
    },
    1009,
    reason=str(LIMIT),
)

F12 = row("F12", "200,000 continuations of a byte", "1008 at `max_fragments`; empty ones count, too")
FRAGMENTS = 1_024


@F12.case("200,000", PLAIN, cost=2, ending=Ending(1008, VIOLATION, "server"))
def endless_fragments(stage: Stage) -> None:
    peer = stage.open()
    peer.flood(frame(TEXT, b"x", final=False) + frame(CONTINUATION, b"x", final=False) * 200_000)
    code, reason = peer.closed()
    assert (code, str(FRAGMENTS) in reason) == (1008, True)


F12.add(
    "one too many",
    fails(
        frame(TEXT, b"x", final=False) + frame(CONTINUATION, b"x", final=False) * FRAGMENTS,
        1008,
        str(FRAGMENTS),
    ),
    PLAIN,
    ending=Ending(1008, VIOLATION, "server"),
)
F12.add(
    "empty ones",
    fails(frame(TEXT, final=False) + frame(CONTINUATION, final=False) * FRAGMENTS, 1008),
    PLAIN,
    ending=Ending(1008, VIOLATION, "server"),
)


@F12.case("as many as may be", PLAIN)
def enough_fragments(stage: Stage) -> None:
    peer = stage.open()
    more = frame(CONTINUATION, b"x", final=False) * (FRAGMENTS - 2)
    peer.send(frame(TEXT, b"x", final=False), more, frame(CONTINUATION, b"x"))
    assert peer.frame() == Frame(TEXT, b"x" * FRAGMENTS)


F14 = row(
    "F14", "a fragment now and then, and never the last", "1008 at `message_timeout`, which no frame moves"
)


@F14.case("many at once", HURRIED, cost=50)
def endless_message(stage: Stage) -> None:
    deadline = HURRIED.settings["message_timeout"]
    peers = [stage.open() for _ in range(AT_ONCE)]
    began = time.monotonic()
    for peer in peers:
        peer.send(frame(TEXT, b"x", final=False))
        peer.socket.settimeout(0.005)
    waiting = set(peers)
    while waiting:
        for peer in list(waiting):
            try:
                code, reason = peer.closed()
            except TimeoutError:
                peer.send(frame(CONTINUATION, b"x", final=False))
            else:
                assert (code, "message_timeout" in reason) == (1008, True)
                within(began, deadline, deadline)
                peer.send(close(1008))
                waiting.remove(peer)
        assert time.monotonic() - began < 10
    assert {(one.code, one.name) for one in stage.endings(len(peers))} == {(1008, VIOLATION)}


F15 = row(
    "F15",
    "text or a close reason that is no UTF-8: surrogates, overlong, cut off, split in fragments",
    "1007, as soon as it cannot be text any more",
)
all_fail(
    F15,
    {
        "ff": frame(TEXT, b"\xff"),
        "an overlong slash": frame(TEXT, b"\xc0\xaf"),
        "a surrogate": frame(TEXT, b"\xed\xa0\x80"),
        "a pair of surrogates": frame(TEXT, b"\xed\xa0\x80\xed\xb0\x80"),
        "above U+10FFFF": frame(TEXT, b"\xf4\x90\x80\x80"),
        "cut off at the end": frame(TEXT, "ü".encode()[:1]),
        "split in fragments": frame(TEXT, b"\xce", final=False) + frame(CONTINUATION, b"\xff"),
        "cut off at the end of fragments": frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"\xce"),
        "in a message that goes on": frame(TEXT, b"good \xff", final=False),
        "in a frame that goes on": frame(TEXT, b"good \xff", declared=1_000),
        "in a close reason": close(1000, b"\xff"),
        "cut off in a close reason": close(1000, "ü".encode()[:1]),
    },
    1007,
)

F16 = row("F16", "binary where only text is read, or nothing is", "1003; text that the model refuses 1007")
for title, path, data, code in (
    ("text only", "/text", frame(BINARY, b"1"), 1003),
    ("nothing", "/nothing", frame(BINARY, b"1"), 1003),
    ("another model", "/text", frame(TEXT, b'"secret"'), 1007),
):

    def wrong_kind(stage: Stage, path: str = path, data: bytes = data, code: int = code) -> None:
        peer = stage.open(path)
        if path == "/text":
            peer.send(frame(TEXT, b"1"))
            assert peer.frame() == Frame(TEXT, b"2")
        peer.send(data)
        found, reason = peer.closed()
        # The peer speaks correctly, so our Close waits for its answer.
        assert (found, "secret" in reason) == (code, False)
        peer.send(close(code))
        assert peer.ending() == "FIN"
        assert stage.endings(1)[0].code == code

    F16.add(title, wrong_kind, PLAIN)

F17 = row(
    "F17",
    "close codes that may not be sent: 0, 999, 1004 to 1006, 1015, 1016, 2999, 5000; a close of one byte",
    "1002; valid codes are echoed",
)
all_fail(
    F17,
    {"a byte": frame(CLOSE, b"\x03")}
    | {
        f"{code}": close(code)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    1002,
)


@F17.case("valid codes", PLAIN, cost=10)
def valid_codes(stage: Stage) -> None:
    named = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
    for code in (*named, 3000, 3999, 4000, 4999):
        peer = stage.open()
        peer.send(close(code, b"so long"))
        assert peer.closed()[0] == code
        # The server ends the TCP connection first (RFC 6455 §7.1.1).
        assert peer.ending() == "FIN"
        [told] = stage.endings(1)
        assert (told.code, told.reason, told.by) == (code, "so long", "peer")


F28 = row("F28", "valid frames, a byte per segment", "taken as if they had come at once")


@F28.case("a byte per segment", PLAIN, cost=10)
def byte_per_segment(stage: Stage) -> None:
    text = "ü€𝄞 " * 40
    peer = stage.open()
    spent = stage.cpu
    for byte in (
        frame(TEXT, text.encode()[:100], final=False)
        + frame(PING, b"?")
        + frame(CONTINUATION, text.encode()[100:])
    ):
        peer.send(bytes([byte]))
    assert peer.frame() == Frame(PONG, b"?")
    assert peer.frame() == Frame(TEXT, text.encode())
    for byte in close(1000, b"done"):
        peer.send(bytes([byte]))
    assert peer.closed()[0] == 1000
    assert stage.cpu - spent < 0.25


@F28.case("a head, a byte per segment", PLAIN, cost=10)
def head_in_bytes(stage: Stage) -> None:
    peer = stage.connect()
    for byte in head():
        peer.send(bytes([byte]))
    peer.switched()
    peer.echo()
