"""Receives nothing · hands the registry the rows of compressed messages that say too much, or nothing · owns those
messages, made with the zlib of C.
"""

from __future__ import annotations

import functools
import zlib

from tests.protocol.rows.profiles import COMPRESSED
from tests.protocol.rows.registry import MIB, VIOLATION, Ending, row
from tests.protocol.rows.stage import Stage
from tests.support.frames import BINARY, CONTINUATION, TEXT, frame
from tests.support.raw import Peer, head, upgrade_headers

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
MAX_MESSAGE = MIB  # the default


def opened(stage: Stage) -> Peer:
    """A peer that may compress."""
    peer = stage.connect()
    peer.send(head("/listen", upgrade_headers(("Sec-WebSocket-Extensions", "permessage-deflate"))))
    peer.switched(AGREED)
    return peer


def deflated(payload: bytes) -> bytes:
    """A message as RFC 7692 §7.2.1 has it."""
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\x00\x00\xff\xff")


@functools.cache
def bomb() -> bytes:
    """Less than a megabyte that says a gigabyte."""
    compressor = zlib.compressobj(9, wbits=-15)
    zeros = bytes(4 * MIB)
    data = b"".join(compressor.compress(zeros) for _ in range(256)) + compressor.flush()
    assert len(data) < MAX_MESSAGE
    return data


F23 = row(
    "F23",
    "a compressed message that says a gigabyte in a megabyte, or a byte too many",
    "1009 at `max_message_size`, while it is inflated: never more than that and 64 KiB",
)
TOO_BIG = Ending(1009, VIOLATION, "server")


# What the first few of them take is kept by the allocator for the next.
@F23.case("a gigabyte", COMPRESSED, cost=4, ending=TOO_BIG, growth=24 * MIB)
def gigabyte(stage: Stage) -> None:
    data = frame(BINARY, bomb(), reserved=4)
    peer = opened(stage)
    stage.forget_peak()
    before = stage.resident
    # It need not have come whole before it is refused.
    peer.flood(data)
    assert peer.closed()[0] == 1009
    # The message as it came, what it has become, and in the first run what is made once; a gigabyte it is not.
    assert stage.peak - before < 12 * MIB


@F23.case("in fragments", COMPRESSED, cost=4, ending=TOO_BIG, growth=24 * MIB)
def gigabyte_in_fragments(stage: Stage) -> None:
    parts = [bomb()[start : start + 4_000] for start in range(0, len(bomb()), 4_000)]
    peer = opened(stage)
    peer.flood(
        frame(BINARY, parts[0], final=False, reserved=4)
        + b"".join(frame(CONTINUATION, part, final=part is parts[-1]) for part in parts[1:])
    )
    assert peer.closed()[0] == 1009


F24 = row(
    "F24",
    "a compressed message that is no stream, is cut off, or counts on what was said before",
    "1007; in a bit that permessage-deflate gives no meaning 1002",
)
for title, row_of, data, code in (
    ("a byte too many", F23, frame(TEXT, deflated(b"x" * (MAX_MESSAGE + 1)), reserved=4), 1009),
    ("no stream", F24, frame(TEXT, b"\xff\xff\xff", reserved=4), 1007),
    ("no byte", F24, frame(TEXT, b"", reserved=4), 1007),
    ("cut off", F24, frame(TEXT, deflated(b"a long text " * 100)[:-5], reserved=4), 1007),
    ("what was before", F24, frame(TEXT, b"\xf2\x00\x11\x00\x00", reserved=4), 1007),
    ("not UTF-8", F24, frame(TEXT, deflated(b"\xff" * 100), reserved=4), 1007),
    (
        "RSV1 on a continuation",
        F24,
        frame(TEXT, b"x", final=False) + frame(CONTINUATION, b"x", reserved=4),
        1002,
    ),
    ("RSV2", F24, frame(TEXT, deflated(b"x"), reserved=6), 1002),
):

    def spoilt(stage: Stage, data: bytes = data, code: int = code) -> None:
        peer = opened(stage)
        # What is good is taken, and is no context for what comes next.
        peer.send(frame(TEXT, deflated(b"fine " * 100), reserved=4), data)
        assert peer.closed()[0] == code
        assert peer.ending() == "FIN"

    # Cost: the answer to what was good is awaited before the Close.
    row_of.add(title, spoilt, COMPRESSED, cost=20, ending=Ending(code, VIOLATION, "server"))
