"""Receives a peer that has shaken hands · hands back frames bit by bit, as they stand on the wire · owns no rule: what
is right is for the tests to say.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.raw import Peer


class WireFrame(NamedTuple):
    """One frame and every part of its header.

    Attributes:
        reserved: RSV1 to RSV3 as a number, RSV1 being 4.
        width: bytes of the length field, 1, 2 (of which 126 says so) or 8 (127).
        length: what that field says.
    """

    final: bool
    reserved: int
    opcode: int
    masked: bool
    width: int
    length: int
    payload: bytes


def read(peer: Peer) -> WireFrame:
    """The next frame."""
    first, second = peer.take(2)
    width, length = 1, second & 0x7F
    if length > 125:
        width = 2 if length == 126 else 8
        length = int.from_bytes(peer.take(width), "big")
    if second & 0x80:
        peer.take(4)
    return WireFrame(
        bool(first & 0x80), first >> 4 & 7, first & 15, bool(second & 0x80), width, length, peer.take(length)
    )
