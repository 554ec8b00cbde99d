"""RFC 6455 §5 and §6, the server's side of the frames: each MUST by its number."""

from __future__ import annotations

import contextlib
import queue
from typing import Any

import pytest

import streamconductor as sc
from tests.conformance.conftest import Serve
from tests.conformance.wire import WireFrame, read
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    UNMASKED,
    Frame,
    close,
    frame,
)
from tests.support.raw import Peer
from tests.support.servers import Site

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20]
"""Where the form of the length changes, and a large one."""


def opened(site: Site, path: str = "/echo") -> Peer:
    return site.open(path)


def fails(site: Site, data: bytes, code: int = 1002) -> None:
    """Sends what a server must not take: a Close with that code comes, the end of the connection, and nothing else."""
    with opened(site) as peer:
        peer.send(data)
        assert peer.closed()[0] == code
        assert peer.ending() == "FIN"
    closed = site.ended()
    assert (closed.code, closed.ending) == (code, "violation")


def said(site: Site) -> list[WireFrame]:
    """One frame of each sort that the server sends."""
    found = []
    with opened(site) as peer:
        for size in SIZES:
            for opcode in (TEXT, BINARY):
                peer.send(frame(opcode, b"x" * size))
                found.append(read(peer))
        for size in (0, 1, 125):
            peer.send(frame(PING, b"x" * size))
            found.append(read(peer))
        peer.send(close(1000, b"x"))
        found.append(read(peer))
    assert [one.opcode for one in found] == [TEXT, BINARY] * len(SIZES) + [PONG] * 3 + [CLOSE]
    return found


# 5.1: masking.


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_5_1_2_a_frame_that_is_not_masked_closes_the_connection(site: Site, opcode: int) -> None:
    fails(site, frame(opcode, mask=UNMASKED))


def test_5_1_2_a_fragment_that_is_not_masked_closes_the_connection(site: Site) -> None:
    fails(site, frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b", mask=UNMASKED))


def test_5_1_3_no_frame_of_the_server_is_masked(site: Site) -> None:
    assert not any(one.masked for one in said(site))


# 5.2: the header.


def test_5_2_1_no_frame_of_the_server_has_a_reserved_bit(site: Site) -> None:
    assert not any(one.reserved for one in said(site))


@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_5_2_2_a_reserved_bit_fails_the_connection(site: Site, opcode: int, reserved: int) -> None:
    fails(site, frame(opcode, reserved=reserved))


@pytest.mark.parametrize("reserved", [1, 2, 4])
def test_5_2_2_a_reserved_bit_on_a_continuation_fails_the_connection(site: Site, reserved: int) -> None:
    fails(site, frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b", reserved=reserved))


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_5_2_3_an_opcode_that_is_not_known_fails_the_connection(site: Site, opcode: int) -> None:
    fails(site, frame(opcode))


@pytest.mark.parametrize("length", [1 << 63, (1 << 63) + 5, (1 << 64) - 1])
def test_5_2_4_a_length_with_its_top_bit_set_fails_the_connection(site: Site, length: int) -> None:
    fails(site, frame(BINARY, declared=length, width=8))


@pytest.mark.parametrize(
    ("length", "width"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)], ids=str
)
def test_5_2_5_a_length_in_more_bytes_than_needed_fails_the_connection(
    site: Site, length: int, width: int
) -> None:
    fails(site, frame(BINARY, b"x" * length, width=width))


def test_5_2_5_the_server_encodes_every_length_in_the_fewest_bytes(site: Site) -> None:
    for one in said(site):
        assert one.width == (1 if one.length < 126 else 2 if one.length < 65_536 else 8), one.length
        # And so the top bit of a 64-bit length is never set: 5.2-4.
        assert one.length < 1 << 63


# 5.4: fragments.


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_5_4_1_a_control_frame_in_fragments_fails_the_connection(site: Site, opcode: int) -> None:
    fails(site, frame(opcode, final=False) + frame(CONTINUATION))


def test_5_4_2_fragments_reach_the_application_in_the_order_sent(site: Site) -> None:
    pieces = [str(number).encode() for number in range(1_000)]
    first, *rest, last = pieces
    with opened(site) as peer:
        peer.send(frame(TEXT, first, final=False))
        peer.send(*(frame(CONTINUATION, piece, final=False) for piece in rest), frame(CONTINUATION, last))
        assert peer.frame() == Frame(TEXT, b"".join(pieces))


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("final", [True, False])
def test_5_4_3_a_message_inside_a_message_fails_the_connection(site: Site, opcode: int, final: bool) -> None:
    fails(site, frame(TEXT, b"a", final=False) + frame(opcode, b"b", final=final))


def test_5_4_3_a_continuation_of_nothing_fails_the_connection(site: Site) -> None:
    fails(site, frame(CONTINUATION, b"a"))


def test_5_4_4_control_frames_are_handled_in_the_middle_of_a_message(site: Site) -> None:
    with opened(site) as peer:
        peer.send(frame(TEXT, b"a", final=False), frame(PING, b"1"), frame(PONG, b"unasked"))
        assert peer.any_frame() == Frame(PONG, b"1")
        peer.send(frame(CONTINUATION, b"b", final=False), frame(PING, b"2"), frame(CONTINUATION, b"c"))
        assert peer.any_frame() == Frame(PONG, b"2")
        assert peer.any_frame() == Frame(TEXT, b"abc")
        peer.send(frame(TEXT, b"d", final=False), close(1000))
        assert peer.closed()[0] == 1000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("count", [1, 2, 3, 1_000])
def test_5_4_5_fragmented_and_unfragmented_messages_are_received(site: Site, opcode: int, count: int) -> None:
    with opened(site) as peer:
        for number in range(count):
            peer.send(frame(CONTINUATION if number else opcode, b"x", final=number == count - 1))
        assert peer.frame() == Frame(opcode, b"x" * count)
        # Empty fragments are fragments.
        peer.send(frame(opcode, final=False), frame(CONTINUATION, final=False), frame(CONTINUATION))
        assert peer.frame() == Frame(opcode, b"")


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_4_10_fragments_are_of_the_type_that_the_first_one_names(site: Site, opcode: int) -> None:
    with opened(site) as peer:
        peer.send(frame(opcode, b"a", final=False), frame(CONTINUATION, b"b"))
        assert peer.frame() == Frame(opcode, b"ab")
    site.ended()
    # Another type within the message is another message.
    fails(site, frame(opcode, b"a", final=False) + frame(BINARY if opcode == TEXT else TEXT, b"b"))


# 5.5: control frames.


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [126, 65_536])
def test_5_5_1_a_control_frame_above_125_bytes_fails_the_connection(
    site: Site, opcode: int, size: int
) -> None:
    fails(site, frame(opcode, b"\x03\xe8" + b"x" * (size - 2)))


def test_5_5_1_no_control_frame_of_the_server_is_above_125_bytes(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/wordy")
        async def wordy(connection: sc.Connection[None]) -> None:
            # Longer than a reason may be, and cut between characters.
            await connection.close(4000, "\u00fc" * 61)

    site = serve(application)
    with opened(site, "/wordy") as peer:
        one = read(peer)
        assert (one.opcode, one.length, one.final) == (CLOSE, 2 + 122, True)
        peer.send(close(4000))
        assert peer.ending() == "FIN"
    with opened(site) as peer:
        peer.send(frame(PING, b"x" * 125))
        assert read(peer).length == 125


def test_5_5_2_no_control_frame_of_the_server_is_fragmented(site: Site) -> None:
    assert all(one.final for one in said(site) if one.opcode >= CLOSE)


@pytest.mark.parametrize("data", [b"\x03", b"\x00"])
def test_5_5_1_1_a_close_whose_body_holds_no_code_fails_the_connection(site: Site, data: bytes) -> None:
    fails(site, frame(CLOSE, data))


def test_5_5_1_1_the_code_comes_first_in_network_order(site: Site) -> None:
    with opened(site) as peer:
        peer.send(frame(CLOSE, b"\x0b\xb8" + b"reason"))
        assert read(peer).payload[:2] == b"\x0b\xb8"
    closed = site.ended()
    assert (closed.code, closed.reason) == (0x0BB8, "reason")


def test_5_5_1_4_no_data_follows_the_servers_close(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/eager")
        async def eager(connection: sc.Connection[None]) -> None:
            connection.subscribe("news")
            await connection.recv()
            connection.close(4000)
            await server.publish("news", "late")
            for _ in range(100):
                # Accepted or refused: the shard may not have heard of the close yet.
                with contextlib.suppress(sc.ConnectionClosed):
                    connection.send_nowait("late")

    site = serve(application)
    with opened(site, "/eager") as peer:
        peer.send(frame(TEXT, b"go"))
        assert peer.closed()[0] == 4000
        peer.send(close(4000))
        assert peer.ending() == "FIN"


@pytest.mark.parametrize("data", [close(), close(1000), close(1001, b"bye"), close(4999)])
def test_5_5_1_5_a_close_is_answered_with_a_close(site: Site, data: bytes) -> None:
    with opened(site) as peer:
        peer.send(data)
        one = peer.any_frame()
        # As is usual, with the same code.
        assert (one.opcode, one.payload) == (CLOSE, b"" if data == close() else one.payload[:2])
        assert peer.ending() == "FIN"


def test_5_5_1_6_after_both_closes_the_tcp_connection_is_closed(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/done")
        async def done(connection: sc.Connection[None]) -> None:
            pass

    site = serve(application)
    with opened(site, "/done") as peer:
        assert peer.closed()[0] == 1000
        peer.send(close(1000))
        assert peer.ending() == "FIN"
    assert (site.ended().code, site.occupied) == (1000, 1)


def test_5_5_1_7_the_server_closes_the_tcp_connection_without_waiting_for_the_client(site: Site) -> None:
    with opened(site) as peer:
        peer.send(close(1000))
        assert peer.closed()[0] == 1000
        # Its direction is ended while ours is open: nothing of ours was needed for that.
        assert peer.ending() == "FIN"
        assert site.ended().code == 1000
        assert site.occupied == 1


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff", b"x" * 125])
def test_5_5_2_1_a_ping_is_answered_with_a_pong(site: Site, payload: bytes) -> None:
    with opened(site) as peer:
        peer.send(frame(PING, payload))
        assert peer.any_frame().opcode == PONG


def test_5_5_2_1_but_not_after_a_close(site: Site) -> None:
    with opened(site) as peer:
        peer.send(close(1000), frame(PING, b"late"))
        assert peer.any_frame().opcode == CLOSE
        assert peer.ending() == "FIN"


@pytest.mark.parametrize("count", [1, 10])
def test_5_5_3_1_a_pong_has_the_data_of_its_ping(site: Site, count: int) -> None:
    payloads = [bytes([number]) * number for number in range(count)]
    with opened(site) as peer:
        peer.send(*(frame(PING, payload) for payload in payloads))
        for payload in payloads:
            assert peer.any_frame() == Frame(PONG, payload)


@pytest.mark.parametrize("text", ["", "Hello", "\u00fc\u20ac\U0001d11e", "\x00", "\ufeff\uffff"])
def test_5_6_1_text_that_is_utf8_is_a_message_wherever_it_is_cut(site: Site, text: str) -> None:
    data = text.encode()
    with opened(site) as peer:
        for cut in range(len(data) + 1):
            # A fragment may hold a part of a character.
            peer.send(frame(TEXT, data[:cut], final=False), frame(CONTINUATION, data[cut:]))
            assert peer.frame() == Frame(TEXT, data)


@pytest.mark.parametrize("data", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_5_6_1_text_that_is_not_is_1007(site: Site, data: bytes) -> None:
    fails(site, frame(TEXT, data), 1007)
    fails(site, frame(TEXT, data[:1], final=False) + frame(CONTINUATION, data[1:]), 1007)


# 6.1: sending.


def test_6_1_1_nothing_is_sent_before_the_connection_is_open_or_after(serve: Serve) -> None:
    outcomes: queue.Queue[str] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.route("/after")
        async def after(connection: sc.Connection[Any]) -> None:
            try:
                while True:
                    await connection.send(await connection.recv())
            except sc.ConnectionClosed:
                try:
                    await connection.send("late")
                except sc.ConnectionClosed as error:
                    outcomes.put(type(error).__name__)

    site = serve(application)
    with opened(site, "/after") as peer:
        peer.echo()
        peer.send(close(1000))
        assert peer.closed()[0] == 1000
        assert peer.ending() == "FIN"
    assert outcomes.get(timeout=5) == "ConnectionClosedOK"


@pytest.mark.parametrize("size", SIZES)
def test_6_1_2_a_message_is_one_frame(site: Site, size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with opened(site) as peer:
        peer.send(frame(BINARY, payload))
        one = read(peer)
        assert (one.length, one.payload) == (size, payload)


def test_6_1_3_the_opcode_says_whether_it_is_text_or_binary(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/both")
        async def both(connection: sc.Connection[None]) -> None:
            await connection.send("text")
            await connection.send(b"binary")
            await connection.send({"json": 1})

    site = serve(application)
    with opened(site, "/both") as peer:
        assert [read(peer).opcode for _ in range(4)] == [TEXT, BINARY, TEXT, CLOSE]


def test_6_1_4_every_frame_that_ends_a_message_is_final(site: Site) -> None:
    assert all(one.final for one in said(site))


def test_6_1_6_what_is_sent_is_transmitted(serve: Serve) -> None:
    def application(server: sc.Server) -> None:
        @server.route("/count")
        async def count(connection: sc.Connection[None]) -> None:
            for number in range(5_000):
                await connection.send(str(number))

    site = serve(application)
    with opened(site, "/count") as peer:
        for number in range(5_000):
            assert peer.frame() == Frame(TEXT, str(number).encode())
        assert peer.closed()[0] == 1000


# 6.2: receiving.


def test_6_2_1_what_comes_is_frames_however_it_is_split(site: Site) -> None:
    stream = frame(TEXT, b"one") + frame(BINARY, b"x" * 200) + frame(PING, b"?") + frame(TEXT, b"")
    with opened(site) as peer:
        for step in (len(stream), 1, 2, 3, 7):
            for start in range(0, len(stream), step):
                peer.send(stream[start : start + step])
            # The pong comes when it comes.
            found = [peer.any_frame() for _ in range(4)]
            found.remove(Frame(PONG, b"?"))
            assert found == [Frame(TEXT, b"one"), Frame(BINARY, b"x" * 200), Frame(TEXT, b"")]


def test_6_2_2_control_frames_are_handled_and_are_no_messages(serve: Serve) -> None:
    received: queue.Queue[str | bytes] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.on_message("/listen")
        def listen(connection: sc.Connection[Any], message: str | bytes) -> None:
            received.put(message)

    site = serve(application)
    with opened(site, "/listen") as peer:
        peer.send(frame(PING, b"ping"), frame(PONG, b"pong"), frame(TEXT, b"message"), close(1000, b"close"))
        assert peer.any_frame() == Frame(PONG, b"ping")
        assert peer.closed()[0] == 1000
    assert received.get(timeout=5) == "message"
    assert received.empty()


@pytest.mark.parametrize(("opcode", "expected"), [(TEXT, "x"), (BINARY, b"x")])
def test_6_2_3_the_application_is_told_the_type(serve: Serve, opcode: int, expected: str | bytes) -> None:
    received: queue.Queue[str | bytes] = queue.Queue()

    def application(server: sc.Server) -> None:
        @server.on_message("/listen")
        def listen(connection: sc.Connection[Any], message: str | bytes) -> None:
            received.put(message)

    site = serve(application)
    with opened(site, "/listen") as peer:
        peer.send(frame(opcode, b"x"), frame(opcode, final=False), frame(CONTINUATION, b"x"))
        assert [received.get(timeout=5) for _ in range(2)] == [expected, expected]


def test_6_2_4_data_behind_a_message_begins_a_new_one(site: Site) -> None:
    with opened(site) as peer:
        peer.send(
            frame(TEXT, b"a", final=False), frame(CONTINUATION, b"b"), frame(BINARY, b"c"), frame(TEXT, b"d")
        )
        assert [peer.frame() for _ in range(3)] == [
            Frame(TEXT, b"ab"),
            Frame(BINARY, b"c"),
            Frame(TEXT, b"d"),
        ]


@pytest.mark.parametrize("mask", [MASK, b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 1_001])
def test_6_2_5_the_mask_is_removed(site: Site, mask: bytes, size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    with opened(site) as peer:
        peer.send(
            frame(BINARY, payload[:1], final=False, mask=mask), frame(CONTINUATION, payload[1:], mask=mask)
        )
        assert peer.frame() == Frame(BINARY, payload)
