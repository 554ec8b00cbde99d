"""Frames and closing handshakes as they should be, up to the limits. What breaks a rule is in `test_rows`."""

from __future__ import annotations

import pytest

from tests.protocol.conftest import Serve
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close,
    frame,
)
from tests.support.servers import Site

LIMIT = 4_096


def test_a_smaller_limit_for_frames_is_1009(serve: Serve) -> None:
    site = serve(max_message_size=LIMIT, max_frame_size=1_000)
    with site.connect() as peer:
        peer.upgrade()
        peer.send(frame(BINARY, declared=1_001))
        code, reason = peer.closed()
        assert (code, "max_frame_size" in reason) == (1009, True)
        assert peer.ending() == "FIN"
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


# Closing handshakes.


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


def test_pings_are_answered_between_fragments(site: Site) -> None:
    with site.connect() as peer:
        peer.upgrade()
        peer.send(frame(TEXT, b"one ", final=False), frame(PING, b"\x00\xff"))
        assert peer.any_frame() == Frame(PONG, b"\x00\xff")
        peer.send(frame(CONTINUATION, b"two ", final=False), frame(PING, b"x" * 125), frame(PONG, b"unasked"))
        assert peer.any_frame() == Frame(PONG, b"x" * 125)
        peer.send(frame(CONTINUATION, b"three"))
        assert peer.any_frame() == Frame(TEXT, b"one two three")


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
