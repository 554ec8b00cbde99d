"""Receives a seed, and the place of a byte · hands out the decision for it · owns why a failure can be had again: what
is decided depends on where a byte stands in its stream, and never on when or with which others it was read.
"""

from __future__ import annotations

import hashlib
import math

from .faults import Direction

__all__ = ["Dice"]


class Dice:
    """The decisions for one direction of one connection.

    Args:
        seed: the proxy's.
        connection: its number, in the order of arrival.
        direction: whose bytes they are for.
    """

    def __init__(self, seed: int, connection: int, direction: Direction) -> None:
        self._key = f"{seed} {connection} {direction}"

    def roll(self, purpose: str, offset: int) -> float:
        """A number from 0 to below 1."""
        text = f"{self._key} {purpose} {offset}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48

    def length(self, offset: int, longest: int) -> int:
        """How long the piece is that begins there."""
        return 1 + int(self.roll("slice", offset) * longest)

    def bit(self, offset: int) -> int:
        """The mask of the bit that is flipped there."""
        return 1 << int(self.roll("bit", offset) * 8)

    def next_corrupt(self, offset: int, probability: float) -> int:
        """The first byte at or behind `offset` that is corrupted, when each is with that probability, above 0."""
        if probability >= 1:
            return offset
        # Drawn as a distance: one roll for each byte would cost more than all else here.
        return offset + int(math.log1p(-self.roll("corrupt", offset)) / math.log1p(-probability))
