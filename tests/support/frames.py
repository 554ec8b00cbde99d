"""Receives what a test wants to say · hands back the bytes of a WebSocket frame, or the frame in bytes · owns a
second reading of RFC 6455 §5.2, which shares nothing with the codec under test.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"
UNMASKED = b""


class Frame(NamedTuple):
    """One frame of the server."""

    opcode: int
    payload: bytes
    final: bool = True
    compressed: bool = False

    @property
    def code(self) -> int | None:
        """The code of a Close frame; None where it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a Close frame."""
        return self.payload[2:].decode()


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    key = mask * (len(payload) // 4 + 1)
    whole = int.from_bytes(payload, "big") ^ int.from_bytes(key[: len(payload)], "big")
    return whole.to_bytes(len(payload), "big")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes = MASK,
    declared: int | None = None,
    width: int | None = None,
) -> bytes:
    """A client's frame, as right or as wrong as asked for.

    Args:
        opcode: 0 to 15.
        payload: what really follows the header.
        final: the FIN bit.
        reserved: RSV1 to RSV3 as a number, RSV1 being 4.
        mask: the masking key; `UNMASKED` leaves it out.
        declared: the length that the header declares; `None`: that of `payload`.
        width: bytes of the length field, 1, 2 or 8; `None`: the fewest.
    """
    length = len(payload) if declared is None else declared
    if width is None:
        width = 1 if length < 126 else 2 if length < 65_536 else 8
    bit = 0x80 if mask else 0
    first = (0x80 if final else 0) | reserved << 4 | opcode
    lengths = {
        1: lambda: bytes([bit | length]),
        2: lambda: struct.pack("!BH", bit | 126, length),
        8: lambda: struct.pack("!BQ", bit | 127, length),
    }
    return bytes([first]) + lengths[width]() + mask + (masked(payload, mask) if mask else payload)


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's Close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def parse(data: bytes | bytearray, *, may_be_compressed: bool = False) -> tuple[Frame, int] | None:
    """The first frame of `data` and its bytes; None when it is not complete. `may_be_compressed`:
    permessage-deflate was negotiated.

    Raises:
        AssertionError: no server may send this.
    """
    if len(data) < 2:
        return None
    first, second = data[0], data[1]
    compressed = may_be_compressed and first & 0x70 == 0x40
    assert compressed or not first & 0x70, f"reserved bits in {first:#x}, and no extension was negotiated"
    assert not second & 0x80, "a server never masks"
    opcode, length, start = first & 0x0F, second & 0x7F, 2
    assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), f"opcode {opcode}"
    if length > 125:
        width = 2 if length == 126 else 8
        start += width
        if len(data) < start:
            return None
        length = int.from_bytes(data[2:start], "big")
        assert length >= (126 if width == 2 else 65_536), "the length is not encoded in the fewest bytes"
    if opcode >= CLOSE:
        assert length <= 125, "a control frame of more than 125 bytes"
        assert first & 0x80, "a control frame in fragments"
        assert not compressed, "a compressed control frame"
    if len(data) < start + length:
        return None
    payload = bytes(data[start : start + length])
    return Frame(opcode, payload, bool(first & 0x80), compressed), start + length
