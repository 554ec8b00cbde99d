"""RFC 7692, permessage-deflate, the server's side: each MUST by its number, on the wire and with Python's own zlib."""

from __future__ import annotations

import os
import zlib
from typing import NamedTuple

import pytest

from tests.conformance.conftest import Serve
from tests.conformance.wire import WireFrame, read
from tests.support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame
from tests.support.raw import Peer, head, upgrade_headers
from tests.support.servers import Site

RSV1 = 4
TAIL = b"\x00\x00\xff\xff"
OFFER = "permessage-deflate"
THRESHOLD = 64
WINDOW = 1 << 15

# Well above the threshold, and such that it becomes much smaller.
LONG = "StreamConductor conducts streams. " * 100


@pytest.fixture
def site(serve: Serve) -> Site:
    """A server that compresses."""
    return serve(compression=True, compression_threshold=THRESHOLD)


class Agreement(NamedTuple):
    """A peer that has shaken hands, and what was agreed: the parameters by name; None: nothing."""

    peer: Peer
    parameters: dict[str, str | None] | None


def opened(site: Site, *offers: str) -> Agreement:
    peer = site.connect()
    peer.send(head(headers=upgrade_headers(*(("Sec-WebSocket-Extensions", offer) for offer in offers))))
    answer = peer.response_head()
    assert answer.status == 101, answer
    value = answer.one("Sec-WebSocket-Extensions")
    if value is None:
        return Agreement(peer, None)
    name, *parameters = (part.strip() for part in value.split(";"))
    assert name == OFFER, value
    pairs = [parameter.partition("=") for parameter in parameters]
    found = {key: text if equals else None for key, equals, text in pairs}
    assert len(found) == len(pairs), f"a parameter comes twice in {value}"
    return Agreement(peer, found)


def agreed(site: Site, offer: str = OFFER) -> Peer:
    peer, parameters = opened(site, offer)
    assert parameters is not None
    return peer


def declined(site: Site, offer: str) -> None:
    """The handshake goes on as if the offer had not been made, and messages flow."""
    peer, parameters = opened(site, offer)
    assert parameters is None, parameters
    peer.echo(LONG)
    peer.close()


def deflated(data: bytes, *, level: int = 9, window: int = 15) -> bytes:
    """A message's payload as §7.2.1 has it."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window)
    whole = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert whole.endswith(TAIL)
    return whole[: -len(TAIL)]


def inflated(data: bytes, *, window: int = 15) -> bytes:
    """What a payload says to whoever has only a window of that size, and nothing in it."""
    inflater = zlib.decompressobj(-window)
    return inflater.decompress(data + TAIL) + inflater.flush()


def compressed(data: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame."""
    return frame(opcode, deflated(data), reserved=RSV1)


def answer(peer: Peer, *data: bytes) -> WireFrame:
    peer.send(*data)
    return read(peer)


def meaning(one: WireFrame, *, window: int = 15) -> bytes:
    assert one.final
    assert one.reserved in (0, RSV1)
    return inflated(one.payload, window=window) if one.reserved else one.payload


def fails(peer: Peer, data: bytes, *codes: int) -> None:
    peer.send(data)
    one = read(peer)
    assert (one.opcode, int.from_bytes(one.payload[:2], "big") in codes) == (CLOSE, True), one
    assert peer.ending() == "FIN"


# 5.1: negotiation.


def test_5_1_1_compression_is_in_use_only_when_offered_and_named(serve: Serve) -> None:
    site = serve(compression=True, compression_threshold=THRESHOLD)
    peer, parameters = opened(site)
    assert parameters is None
    assert answer(peer, frame(TEXT, LONG.encode())).reserved == 0
    fails(peer, compressed(b"unasked"), 1002)
    # A server that does not compress names it to nobody.
    peer, parameters = opened(serve(compression=False), OFFER)
    assert parameters is None
    fails(peer, compressed(b"unasked"), 1002)


@pytest.mark.parametrize("offer", ["x-unknown", "permessage-deflate; x-unknown", "permessage-bzip2"])
def test_5_1_2_an_offer_that_is_declined_changes_nothing(site: Site, offer: str) -> None:
    declined(site, offer)


@pytest.mark.parametrize(
    "offers",
    [
        ("permessage-deflate; x-unknown, permessage-deflate",),
        ("permessage-deflate; x-unknown", "permessage-deflate"),
        ("x-unknown, permessage-deflate; server_max_window_bits=7, permessage-deflate",),
    ],
    ids=["in one line", "in two lines", "the last of three"],
)
def test_5_1_2_and_the_next_offer_is_looked_at(site: Site, offers: tuple[str, ...]) -> None:
    _, parameters = opened(site, *offers)
    assert parameters is not None
    assert "x-unknown" not in parameters


# 6: framing.


@pytest.mark.parametrize("other", ["x-webkit-deflate-frame", "permessage-bzip2", "permessage-deflate"])
def test_6_1_no_second_extension_that_uses_rsv1_is_accepted(site: Site, other: str) -> None:
    # `opened` asserts that it is one extension, and which.
    assert opened(site, f"{OFFER}, {other}").parameters is not None
    assert opened(site, f"{other}, {OFFER}").parameters is not None


def test_6_3_rsv1_is_on_no_control_frame_and_on_no_later_fragment(site: Site) -> None:
    peer = agreed(site)
    for payload in (b"", b"x" * 125):
        assert answer(peer, frame(PING, payload)) == WireFrame(True, 0, PONG, False, 1, len(payload), payload)
    for size in (1_000, 100_000, 1 << 20):
        one = answer(peer, frame(TEXT, b"x" * size))
        # A frame of its own: it has no later fragments.
        assert (one.final, one.opcode, meaning(one)) == (True, TEXT, b"x" * size)
    one = answer(peer, close(1000, b"x" * 100))
    assert (one.opcode, one.reserved) == (CLOSE, 0)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_6_4_a_control_frame_with_rsv1_fails_the_connection(site: Site, opcode: int) -> None:
    fails(agreed(site), frame(opcode, reserved=RSV1), 1002)


@pytest.mark.parametrize("first", [0, RSV1])
def test_6_5_a_continuation_with_rsv1_fails_the_connection(site: Site, first: int) -> None:
    data = deflated(b"Hello") if first else b"Hello"
    start = frame(TEXT, data[:3], final=False, reserved=first)
    fails(agreed(site), start + frame(CONTINUATION, data[3:], reserved=RSV1), 1002)


@pytest.mark.parametrize("reserved", [1, 2, 3, 5, 6, 7])
def test_6_4_the_other_reserved_bits_still_fail_the_connection(site: Site, reserved: int) -> None:
    fails(agreed(site), frame(TEXT, deflated(b"Hello"), reserved=reserved), 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_6_1_1_a_compressed_message_says_so_and_keeps_its_opcode(site: Site, opcode: int) -> None:
    one = answer(agreed(site), frame(opcode, LONG.encode()))
    assert (one.reserved, one.opcode, inflated(one.payload)) == (RSV1, opcode, LONG.encode())
    assert one.length < len(LONG) / 10


@pytest.mark.parametrize("size", [0, 1, THRESHOLD - 1])
def test_6_1_2_a_message_that_is_sent_as_it_is_has_no_rsv1(site: Site, size: int) -> None:
    one = answer(agreed(site), compressed(b"x" * size))
    assert (one.reserved, one.payload) == (0, b"x" * size)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("cuts", [[], [1], [0, 3], [2, 2, 5]], ids=str)
def test_6_2_1_the_fragments_of_a_compressed_message_are_put_together(
    site: Site, opcode: int, cuts: list[int]
) -> None:
    data = deflated(LONG.encode())
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    frames = [
        frame(
            CONTINUATION if number else opcode,
            piece,
            reserved=0 if number else RSV1,
            final=number == len(pieces) - 1,
        )
        for number, piece in enumerate(pieces)
    ]
    peer = agreed(site)
    # A ping between the fragments is none of them.
    one = answer(peer, frames[0], frame(PING, b"?"), *frames[1:])
    if len(frames) > 1:
        assert one.opcode == PONG
        one = read(peer)
    else:
        pair = [one, read(peer)]
        one = next(other for other in pair if other.opcode != PONG)
    assert (one.opcode, meaning(one)) == (opcode, LONG.encode())


def test_6_2_2_a_message_without_rsv1_is_taken_as_it_is(site: Site) -> None:
    peer = agreed(site)
    looks_deflated = deflated(b"Hello")
    assert answer(peer, frame(BINARY, looks_deflated)).payload == looks_deflated
    # Compressed and uncompressed messages follow each other as they like.
    for number in range(10):
        text = f"message {number}".encode()
        assert answer(peer, compressed(text) if number % 2 else frame(TEXT, text)).payload == text


# 7: offers that are declined.


@pytest.mark.parametrize(
    "parameter", ["x", "x=1", "Server_No_Context_Takeover", "server_max_window_bits2=10"]
)
def test_7_1_a_parameter_that_is_not_defined_declines_the_offer(site: Site, parameter: str) -> None:
    declined(site, f"{OFFER}; {parameter}")


@pytest.mark.parametrize(
    "parameter",
    [
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        "server_max_window_bits=large",
        "client_max_window_bits=small",
        "server_max_window_bits=-9",
        "client_max_window_bits=1e1",
    ],
)
def test_7_2_an_invalid_value_declines_the_offer(site: Site, parameter: str) -> None:
    declined(site, f"{OFFER}; {parameter}")


@pytest.mark.parametrize(
    "parameter",
    [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=10",
        "client_max_window_bits",
        "client_max_window_bits=10",
    ],
)
def test_7_3_a_parameter_that_comes_twice_declines_the_offer(site: Site, parameter: str) -> None:
    declined(site, f"{OFFER}; {parameter}; {parameter}")


def test_7_4_what_the_server_does_not_support_declines_the_offer(site: Site) -> None:
    # A window of 256 bytes is valid, and zlib cannot deflate with it.
    declined(site, f"{OFFER}; server_max_window_bits=8")


# 7.1: parameters.


@pytest.mark.parametrize(
    "offer", [OFFER, f"{OFFER}; server_no_context_takeover", f"{OFFER};client_no_context_takeover"]
)
def test_7_1_1_1_1_server_no_context_takeover_is_named(site: Site, offer: str) -> None:
    parameters = opened(site, offer).parameters
    # Unasked, too: a shared frame can have no window of one connection's own.
    assert parameters is not None
    assert parameters.get("server_no_context_takeover", "missing") is None


@pytest.mark.parametrize(
    "offer", [OFFER, f"{OFFER}; server_no_context_takeover", f"{OFFER}; client_no_context_takeover"]
)
def test_7_1_1_2_1_client_no_context_takeover_is_named(site: Site, offer: str) -> None:
    parameters = opened(site, offer).parameters
    assert parameters is not None
    assert parameters.get("client_no_context_takeover", "missing") is None


@pytest.mark.parametrize("value", ["0", "7", "16", "08", "010", "+9", "9.0", '"7"'])
def test_7_1_2_1_1_server_max_window_bits_out_of_its_range_declines_the_offer(site: Site, value: str) -> None:
    declined(site, f"{OFFER}; server_max_window_bits={value}")


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("quote", ["", '"'])
def test_7_1_2_1_2_server_max_window_bits_is_answered_with_no_more(site: Site, bits: int, quote: str) -> None:
    parameters = opened(site, f"{OFFER}; server_max_window_bits={quote}{bits}{quote}").parameters
    assert parameters is not None
    value = parameters["server_max_window_bits"]
    assert value is not None
    assert value == str(int(value)), "a leading zero"
    assert 8 <= int(value) <= bits


@pytest.mark.parametrize("value", ["0", "7", "16", "08", "010", '"16"'])
def test_7_1_2_2_1_client_max_window_bits_out_of_its_range_declines_the_offer(site: Site, value: str) -> None:
    declined(site, f"{OFFER}; client_max_window_bits={value}")


@pytest.mark.parametrize("value", ["", *(f"={bits}" for bits in range(8, 16))])
def test_7_1_2_2_1_client_max_window_bits_may_have_a_value_or_none(site: Site, value: str) -> None:
    parameters = opened(site, f"{OFFER}; client_max_window_bits{value}").parameters
    assert parameters is not None
    if "client_max_window_bits" in parameters:
        # The response may limit the client's window, and not name what does not.
        named = parameters["client_max_window_bits"]
        assert named is not None, "a response must say a value"
        assert 8 <= int(named) <= int(value[1:] or 15)


@pytest.mark.parametrize("offer", [OFFER, f"{OFFER}; server_max_window_bits=10"])
def test_7_1_2_2_2_client_max_window_bits_is_not_named_unasked(site: Site, offer: str) -> None:
    parameters = opened(site, offer).parameters
    assert parameters is not None
    assert "client_max_window_bits" not in parameters


# 7.2: payloads.


SAMPLES = {
    "one byte over": b"a" * (THRESHOLD + 1),
    "all bytes": bytes(range(256)) * 20,
    "a million": b"0123456789" * 100_000,
    "noise": os.urandom(70_000),
    "half noise": os.urandom(30_000) + bytes(40_000),
}


@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
def test_7_2_1_1_a_message_is_deflated_and_its_tail_is_left_out(site: Site, data: bytes) -> None:
    peer = agreed(site)
    for _ in range(3):
        one = answer(peer, frame(BINARY, data))
        assert meaning(one) == data
        if one.reserved:
            # What was left out was there: with it the data ends where the message ends.
            inflater = zlib.decompressobj(-15)
            inflater.decompress(one.payload + TAIL)
            assert not inflater.unused_data
            assert not one.payload.endswith(TAIL)


def test_7_2_1_2_a_final_block_is_padded_to_a_byte(site: Site) -> None:
    # Of ours none is final, else whatever follows it would be left over.
    peer = agreed(site)
    for size in range(THRESHOLD, THRESHOLD + 20):
        one = answer(peer, frame(TEXT, b"ab" * size))
        assert one.reserved == RSV1
        inflater = zlib.decompressobj(-15)
        assert inflater.decompress(one.payload + TAIL) == b"ab" * size
        assert not inflater.eof
    # Of the client one may be: the example of §7.2.3.4.
    peer = agreed(site)
    assert answer(peer, frame(TEXT, bytes.fromhex("f348cdc9c9070000"), reserved=RSV1)).payload == b"Hello"


def far_repeats(distance: int) -> bytes:
    """Noise that comes again after `distance` bytes, and so is only worth a reference in a window of that size."""
    return os.urandom(distance) * 2


def test_7_2_1_3_the_window_is_not_larger_than_32_kib(site: Site) -> None:
    peer = agreed(site)
    for distance in (WINDOW - 300, WINDOW, WINDOW + 300, 2 * WINDOW):
        data = far_repeats(distance)
        # zlib refuses a reference beyond the window that it was told.
        assert meaning(answer(peer, frame(BINARY, data))) == data


@pytest.mark.parametrize("bits", range(9, 15))
def test_7_2_1_4_the_servers_window_is_not_larger_than_agreed(site: Site, bits: int) -> None:
    peer, parameters = opened(site, f"{OFFER}; server_max_window_bits={bits}")
    assert parameters is not None
    for distance in (1 << (bits - 1), 1 << bits, (1 << bits) + 300, WINDOW - 300):
        data = far_repeats(distance) + b"a" * 20_000
        one = answer(peer, frame(BINARY, data))
        assert one.reserved == RSV1
        assert meaning(one, window=int(parameters["server_max_window_bits"] or 15)) == data


def test_7_2_1_5_the_server_begins_every_message_with_an_empty_window(site: Site) -> None:
    peer = agreed(site)
    data = os.urandom(2_000).hex().encode()
    for _ in range(5):
        one = answer(peer, frame(TEXT, data))
        # Inflated by itself; and no shorter than the first one, as it would be with what came before.
        assert (one.reserved, inflated(one.payload)) == (RSV1, data)
        assert one.length > 1_900


EXAMPLES = {
    "one block": "f248cdc9c90700",
    "no compression": "000500faff48656c6c6f00",
    "two blocks": "f248050000 00ffffcac9c90700".replace(" ", ""),
    "a final block": "f348cdc9c9070000",
}


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_7_2_2_1_the_examples_of_the_rfc_are_inflated(site: Site, data: str) -> None:
    peer = agreed(site)
    for _ in range(2):
        assert answer(peer, frame(TEXT, bytes.fromhex(data), reserved=RSV1)).payload == b"Hello"
    # An empty message is one byte, §7.2.3.6.
    assert answer(peer, frame(TEXT, b"\x00", reserved=RSV1)).payload == b""


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_7_2_2_1_and_so_is_what_any_level_makes(site: Site, level: int) -> None:
    peer = agreed(site)
    for data in SAMPLES.values():
        assert meaning(answer(peer, frame(BINARY, deflated(data, level=level), reserved=RSV1))) == data


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (deflated(b"good \xff"), 1007),
        (b"\xff\xff\xff\xff", 1002),
        (deflated(LONG.encode())[:-20], 1002),
        (b"", 1002),
    ],
    ids=["no text", "no deflate", "cut off", "nothing"],
)
def test_7_2_2_1_what_cannot_be_inflated_or_is_no_text_fails_the_connection(
    site: Site, data: bytes, code: int
) -> None:
    peer = agreed(site)
    peer.send(frame(TEXT, data, reserved=RSV1))
    one = read(peer)
    if data == b"":
        # Nothing, and the four bytes: an empty block, so an empty message. Either reading is right.
        assert one.opcode in (TEXT, CLOSE)
        return
    assert one.opcode == CLOSE
    assert int.from_bytes(one.payload[:2], "big") in (code, 1007)
    assert peer.ending() == "FIN"


@pytest.mark.parametrize(
    "offer", [OFFER, f"{OFFER}; client_max_window_bits", f"{OFFER}; client_max_window_bits=9"]
)
def test_7_2_2_3_the_server_inflates_with_a_window_of_32_kib(site: Site, offer: str) -> None:
    peer = agreed(site, offer)
    for distance in (1, 1_000, WINDOW - 300, WINDOW - 262):
        data = far_repeats(distance)
        assert meaning(answer(peer, frame(BINARY, deflated(data), reserved=RSV1))) == data
