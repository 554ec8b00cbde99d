"""Receives what the server program is about to do · hands out something wrong instead, now and then · owns the proofs
that a soak can fail: each saboteur is what one check is there to find.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Site

__all__ = ["SABOTEURS", "Saboteur"]

# The first publication that goes wrong, and those after it.
FIRST, EVERY = 20, 10


class Saboteur:
    """Does nothing wrong."""

    def publish(self, site: Site, channel: int) -> bool:
        """Takes over the publication of the next number; False: it did not."""
        return False

    def counted(self, messages: int) -> int:
        """What `on_close` says of the messages written to a connection."""
        return messages

    def tick(self) -> None:
        """Called so often as publications are."""


class _Publisher(Saboteur):
    def publish(self, site: Site, channel: int) -> bool:
        number = site.next[channel]
        if number < FIRST or number % EVERY:
            return False
        self.wrong(site, channel)
        return True

    def wrong(self, site: Site, channel: int) -> None:
        raise NotImplementedError


class Drop(_Publisher):
    """A number is never published."""

    def wrong(self, site: Site, channel: int) -> None:
        site.next[channel] += 1


class Duplicate(_Publisher):
    """A number is published twice."""

    def wrong(self, site: Site, channel: int) -> None:
        site.publish(channel)
        site.next[channel] -= 1
        site.publish(channel)


class Reorder(_Publisher):
    """A number is published behind its successor."""

    def wrong(self, site: Site, channel: int) -> None:
        site.next[channel] += 1
        site.publish(channel)
        site.next[channel] -= 2
        site.publish(channel)
        site.next[channel] += 1


class Corrupt(_Publisher):
    """A byte is another."""

    def wrong(self, site: Site, channel: int) -> None:
        from .server import payload

        text = payload(channel, site.next[channel])
        place = len(text) // 2
        site.publish(channel, text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :])


class Miscount(Saboteur):
    """A connection's end tells one message too many."""

    def counted(self, messages: int) -> int:
        return messages + 1


class Descriptors(Saboteur):
    """A descriptor is left open."""

    def __init__(self) -> None:
        self._ticks = 0

    def tick(self) -> None:
        self._ticks += 1
        if self._ticks == FIRST:
            os.dup(1)


class Memory(Saboteur):
    """A piece of memory is kept, twenty times a second."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def tick(self) -> None:
        # Random, or pages of zeros might not be resident.
        self._kept.append(os.urandom(4096))


SABOTEURS: dict[str, type[Saboteur]] = {
    "none": Saboteur,
    "drop": Drop,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "corrupt": Corrupt,
    "miscount": Miscount,
    "descriptors": Descriptors,
    "memory": Memory,
}
