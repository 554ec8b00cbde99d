"""Frames that break a rule: each ends in the right code, in a Close frame that really comes, and in nothing else."""

from __future__ import annotations

import queue
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
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
from tests.support.raw import Stopwatch
from tests.support.servers import Site, eventually

LIMIT = 4_096


def fails(site: Site, data: bytes, code: int, *, reason: str = "") -> None:
    """Sends bytes that cannot be decoded: our Close comes, then our end of the connection, with nothing between."""
    with site.connect() as peer:
        peer.upgrade()
        peer.send(data)
        found, text = peer.closed()
        assert (found, reason in text) == (code, True), (found, text)
        assert peer.ending() == "FIN"
    closed = site.ended()
    assert (closed.code, closed.reason, closed.by, closed.ending) == (code, text, "server", "violation")
    assert site.endings.empty()


PROTOCOL_ERRORS = {
    # F1
    "unmasked text": frame(TEXT, b"hello", mask=UNMASKED),
    "unmasked close": frame(CLOSE, b"", mask=UNMASKED),
    # F2
    "RSV1": frame(TEXT, b"x", reserved=4),
    "RSV2": frame(TEXT, b"x", reserved=2),
    "RSV3": frame(TEXT, b"x", reserved=1),
    "all reserved bits": frame(PING, reserved=7),
    # F3
    **{f"opcode {opcode}": frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    # F4: refused at the header, of which the payload is no part.
    "ping of 126 bytes": frame(PING, declared=126),
    "close of 126 bytes": frame(CLOSE, declared=126),
    "ping of 1 MiB": frame(PING, declared=1 << 20),
    # F5
    "ping in fragments": frame(PING, final=False),
    "pong in fragments": frame(PONG, final=False),
    "close in fragments": frame(CLOSE, final=False),
    # F6
    "continuation of nothing": frame(CONTINUATION, b"x"),
    "continuation of a whole message": frame(PONG) + frame(CONTINUATION, b"x"),
    "a message inside a message": frame(TEXT, b"x", final=False) + frame(TEXT, b"y"),
    "binary inside text": frame(TEXT, b"x", final=False) + frame(BINARY, b"y"),
    # F7
    "a length with its top bit set": frame(BINARY, declared=0x8000000000000001, width=8),
    # F8
    "5 bytes in a 16-bit length": frame(TEXT, b"hello", width=2),
    "5 bytes in a 64-bit length": frame(TEXT, b"hello", width=8),
    "125 bytes in a 16-bit length": frame(TEXT, b"x" * 125, width=2),
    "300 bytes in a 64-bit length": frame(TEXT, b"x" * 300, width=8),
    # F17
    "close of 1 byte": frame(CLOSE, b"\x03"),
    **{
        f"close {code}": close(code)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
}


@pytest.mark.parametrize("data", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS)
def test_a_protocol_error_is_1002(site: Site, data: bytes) -> None:
    fails(site, data, 1002)


NOT_TEXT = {
    # F15
    "0xff": frame(TEXT, b"\xff"),
    "an overlong slash": frame(TEXT, b"\xc0\xaf"),
    "a surrogate": frame(TEXT, b"\xed\xa0\x80"),
    "a pair of surrogates": frame(TEXT, b"\xed\xa0\x80\xed\xb0\x80"),
    "above U+10FFFF": frame(TEXT, b"\xf4\x90\x80\x80"),
    "cut off at the end": frame(TEXT, "ü".encode()[:1]),
    "split in fragments": frame(TEXT, b"\xce", final=False) + frame(CONTINUATION, b"\xff"),
    "cut off at the end of fragments": frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"\xce"),
    # As soon as it cannot be text any more, not when the message is complete.
    "in a message that goes on": frame(TEXT, b"good \xff", final=False),
    "in a frame that goes on": frame(TEXT, b"good \xff", declared=1_000),
    "in a close reason": close(1000, b"\xff"),
    "cut off in a close reason": close(1000, "ü".encode()[:1]),
}


@pytest.mark.parametrize("data", NOT_TEXT.values(), ids=NOT_TEXT)
def test_what_is_no_utf8_is_1007(site: Site, data: bytes) -> None:
    fails(site, data, 1007)


TOO_BIG = {
    # F7, F9: refused at the header, before any payload.
    "2^63 - 1": frame(BINARY, declared=2**63 - 1),
    "one above the limit": frame(BINARY, declared=LIMIT + 1),
    # F11
    "the sum of fragments": frame(BINARY, b"x" * LIMIT, final=False) + frame(CONTINUATION, declared=1),
    "the sum of many fragments": frame(BINARY, b"x" * 1_000, final=False)
    + frame(CONTINUATION, b"x" * 1_000, final=False) * 3
    + frame(CONTINUATION, declared=LIMIT - 3_999),
}


@pytest.mark.parametrize("data", TOO_BIG.values(), ids=TOO_BIG)
def test_above_the_limit_is_1009_without_the_payload(serve: Serve, data: bytes) -> None:
    fails(serve(max_message_size=LIMIT), data, 1009, reason=str(LIMIT))


def test_a_smaller_limit_for_frames_is_1009(serve: Serve) -> None:
    site = serve(max_message_size=LIMIT, max_frame_size=1_000)
    fails(site, frame(BINARY, declared=1_001), 1009, reason="max_frame_size")
    with site.connect() as peer:
        peer.upgrade()
        peer.send(frame(BINARY, b"x" * 1_000, final=False), frame(CONTINUATION, b"y" * 1_000))
        assert peer.frame() == Frame(BINARY, b"x" * 1_000 + b"y" * 1_000)


def test_exactly_the_limit_is_a_message(serve: Serve) -> None:
    site = serve(max_message_size=LIMIT)
    with site.connect() as peer:
        peer.upgrade()
        for data in (
            frame(BINARY, b"x" * LIMIT),
            frame(BINARY, b"x" * (LIMIT - 1), final=False) + frame(CONTINUATION, b"x"),
        ):
            peer.send(data)
            assert peer.frame() == Frame(BINARY, b"x" * LIMIT)


def test_too_many_fragments_are_1008(site: Site) -> None:
    """F12: 1,024 are a message, one more is not, however small they are."""
    start, more = frame(TEXT, b"x", final=False), frame(CONTINUATION, b"x", final=False)
    with site.connect() as peer:
        peer.upgrade()
        peer.send(start, more * 1_022, frame(CONTINUATION, b"x"))
        assert peer.frame() == Frame(TEXT, b"x" * 1_024)
    assert site.ended().code == 1006
    fails(site, start + more * 1_024, 1008, reason="1024")
    # Empty ones count, too.
    fails(site, frame(TEXT, b"", final=False) + frame(CONTINUATION, b"", final=False) * 1_024, 1008)


@pytest.mark.parametrize("receives", ["text only", "nothing"])
def test_the_wrong_kind_is_1003(serve: Serve, receives: str) -> None:
    """F16: the peer speaks correctly, so our Close waits for its answer."""

    def application(server: sc.Server) -> None:
        server.push("/nothing")

        @server.route("/text")
        async def text(connection: sc.Connection[Any]) -> None:
            async for number in connection.messages(int):
                await connection.send(number + 1)

    site = serve(application)
    with site.connect() as peer:
        if receives == "text only":
            peer.upgrade("/text")
            peer.send(frame(TEXT, b"1"))
            assert peer.frame() == Frame(TEXT, b"2")
        else:
            peer.upgrade("/nothing")
        peer.send(frame(BINARY, b"1"))
        assert peer.closed()[0] == 1003
        peer.send(close(1003))
        assert peer.ending() == "FIN"
    # Of a connection that only receives Python knows nothing, not even its end.
    if receives == "text only":
        assert site.ended().code == 1003


def test_text_that_the_model_refuses_is_1007(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/numbers")
        async def numbers(connection: sc.Connection[Any]) -> None:
            async for _ in connection.messages(int):
                pass

    site = serve(application)
    with site.connect() as peer:
        peer.upgrade("/numbers")
        peer.send(frame(TEXT, b'"secret"'))
        code, reason = peer.closed()
        assert code == 1007
        assert "secret" not in reason


# Closing handshakes.


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_a_valid_close_code_is_echoed(site: Site, code: int) -> None:
    """F17."""
    with site.connect() as peer:
        peer.upgrade()
        peer.send(close(code, b"so long"))
        assert peer.closed()[0] == code
        # The server ends the TCP connection first (RFC 6455 §7.1.1).
        assert peer.ending() == "FIN"
    closed = site.ended()
    assert (closed.code, closed.reason, closed.by) == (code, "so long", "peer")


def test_a_close_without_a_code_is_echoed_without_one(site: Site) -> None:
    with site.connect() as peer:
        peer.upgrade()
        peer.send(close())
        assert peer.frame() == Frame(CLOSE, b"")
        assert peer.ending() == "FIN"
    assert site.ended().code == 1005


def test_a_close_reason_of_123_bytes_is_taken(site: Site) -> None:
    with site.connect() as peer:
        peer.upgrade()
        peer.send(close(1000, b"x" * 123))
        assert peer.closed()[0] == 1000
    assert site.ended().reason == "x" * 123


def test_nothing_counts_after_a_close(serve: Serve) -> None:
    """F18: data, pings and a second Close behind the first are ignored, and the socket goes within a second."""
    received: queue.Queue[str | bytes] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.on_message("/listen")
        def listen(connection: sc.Connection[Any], message: str | bytes) -> None:
            received.put(message)

    site = serve(application)
    with site.connect() as peer:
        peer.upgrade("/listen")
        late = frame(TEXT, b"late"), frame(PING, b"late"), close(4000, b"late")
        peer.send(frame(TEXT, b"in time"), close(4001, b"first"), *late)
        assert peer.closed()[0] == 4001
        assert peer.ending() == "FIN"
        peer.send(*late)
        watch = Stopwatch()
        closed = site.ended()
        assert (closed.code, closed.reason) == (4001, "first")
        # The peer has not ended its direction: the socket lingers, but not for ever.
        assert eventually(lambda: site.pool.pending == 0)
        assert watch.seconds < 2.5
    assert received.get(timeout=5) == "in time"
    assert received.empty()
    assert site.endings.empty()


def test_pings_are_answered_between_fragments(site: Site) -> None:
    with site.connect() as peer:
        peer.upgrade()
        peer.send(frame(TEXT, b"one ", final=False), frame(PING, b"\x00\xff"))
        assert peer.any_frame() == Frame(PONG, b"\x00\xff")
        peer.send(frame(CONTINUATION, b"two ", final=False), frame(PING, b"x" * 125), frame(PONG, b"unasked"))
        assert peer.any_frame() == Frame(PONG, b"x" * 125)
        peer.send(frame(CONTINUATION, b"three"))
        assert peer.any_frame() == Frame(TEXT, b"one two three")


def test_one_byte_per_segment_is_a_session(site: Site) -> None:
    """F28."""
    text = "ü€𝄞 " * 40
    with site.connect() as peer:
        peer.upgrade()
        message = (
            frame(TEXT, text.encode()[:100], final=False)
            + frame(PING, b"?")
            + frame(CONTINUATION, text.encode()[100:])
        )
        for byte in message:
            peer.send(bytes([byte]))
        assert peer.any_frame() == Frame(PONG, b"?")
        assert peer.any_frame() == Frame(TEXT, text.encode())
        for byte in close(1000, b"done"):
            peer.send(bytes([byte]))
        assert peer.closed()[0] == 1000


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20])
def test_every_width_of_the_length(site: Site, size: int) -> None:
    with site.connect() as peer:
        peer.upgrade()
        for opcode, payload in ((BINARY, b"\x80" * size), (TEXT, b"x" * size)):
            peer.send(frame(opcode, payload))
            assert peer.frame() == Frame(opcode, payload)


def test_a_message_behind_the_101_in_one_segment_is_read(site: Site) -> None:
    """Many frames in one read, the last of them in two."""
    with site.connect() as peer:
        peer.upgrade()
        data = b"".join(frame(TEXT, str(number).encode()) for number in range(500))
        peer.send(data[:-3])
        for number in range(499):
            assert peer.frame() == Frame(TEXT, str(number).encode())
        peer.send(data[-3:])
        assert peer.frame() == Frame(TEXT, b"499")
