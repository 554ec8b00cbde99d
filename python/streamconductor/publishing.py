"""Receives payloads for channels and connections · encodes each once and hands it to the shards · owns feeds, and
those who wait for room in a mailbox.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .encoder import encode
from .errors import NotRunning
from .feed import Feed, Source
from .foundation import Foundation

if TYPE_CHECKING:
    from .config import Config
    from .connection import Connection

__all__ = ["Publishing"]

# Calls that need not wait still let other tasks run once in so many.
_IN_A_ROW = 64


class Publishing(Foundation):
    """What a server sends to more than one connection."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._feeds: dict[str, Feed] = {}
        self._room: list[asyncio.Future[None]] = []
        self._publications = 0

    async def publish(self, channel: str, payload: object, *, key: str | None = None) -> int:
        """Publishes to everybody subscribed; encoded once. Waits while the home shard's mailbox is above half.

        Args:
            channel: 1 to 255 bytes without control characters.
            payload: `str` as text, bytes-like as binary, anything else as JSON text by `Config.encoder`.
            key: for channels that conflate: a slow reader gets only the newest per key.

        Returns:
            The number of subscribers known at the call.

        Raises:
            MessageTooBig: larger than `Config.max_buffered`; it reached nobody.
            ValueError: a bad name, or NaN in the payload.
            NotRunning: the server does not run, or stops while this waits.
        """
        native = self._running("publish")
        encoded = self._encode(payload)
        while (subscribers := native.publish(channel, encoded, key, True)) is None:
            await self._until_room("publish")
        self._publications += 1
        if self._publications % _IN_A_ROW == 0:
            await asyncio.sleep(0)
        return subscribers

    def publish_nowait(self, channel: str, payload: object, *, key: str | None = None) -> int:
        """As `publish`, but never waits; may be called from any thread.

        Raises:
            Overloaded: the home shard's mailbox is full; nothing was published.
        """
        native = self._running_anywhere("publish_nowait")
        return native.publish(channel, self._encode(payload), key, False) or 0

    async def broadcast(
        self,
        payload: object,
        *,
        to: Iterable[Connection[Any]] | None = None,
        user: str | None = None,
        exclude: Iterable[Connection[Any]] = (),
    ) -> None:
        """Sends one message to many connections, under `Config.overflow`; encoded once per shard.

        Args:
            payload: as in `publish`.
            to: these connections; `None`: all of `user`, or everybody.
            user: all connections of this user; not together with `to`.
            exclude: not to these.

        Raises:
            MessageTooBig, NotRunning: as from `publish`.
            TypeError: `to` or `exclude` holds something else than connections.
            ValueError: both `to` and `user`, or NaN in the payload.
        """
        if to is not None and user is not None:
            raise ValueError("broadcast takes either `to` or `user`")
        native = self._running("broadcast")
        encoded = self._encode(payload)
        to_ids = None if to is None else _ids("to", to)
        exclude_ids = _ids("exclude", exclude)
        while not native.broadcast(encoded, to_ids, user, exclude_ids, True):
            await self._until_room("broadcast")

    def feed(
        self, source: Source, *, name: str | None = None, channel: str | None = None, required: bool = False
    ) -> Feed:
        """Publishes what an async iterable yields, for as long as the server runs.

        It is not read while mailboxes are full. A source that raises is started again with growing random delays if
        it is a callable; it shows in `status()` and as ``feed:<name>`` in `/readyz`.

        Args:
            source: an async iterable, or a callable that returns one, such as an async generator function. It yields
                (channel, payload) or (channel, payload, key), or payloads when `channel` is given.
            name: `None`: the source's own name.
            channel: where all of it goes.
            required: whether `/readyz` turns red while it does not run.

        Raises:
            TypeError: `source` is neither.
            WrongThread: not called on the loop's thread while the server runs.
        """
        if not callable(source) and not hasattr(source, "__aiter__"):
            kind = type(source).__name__
            raise TypeError(
                f"feed takes an async iterable, or a callable that returns one, not {kind}; "
                "write an async generator function that yields (channel, payload)"
            )
        if self._native is not None:
            self._running("feed")
        stem = name or str(getattr(source, "__name__", type(source).__name__))
        numbered = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
        unique = next(each for each in numbered if each not in self._feeds)
        feed = self._feeds[unique] = Feed(self, source, unique, channel, required)
        if self._native is not None:
            self._start_feed(feed)
        return feed

    # Inside.

    def _encode(self, payload: object) -> str | bytes:
        kind = type(payload)
        if kind is str or kind is bytes:
            return payload  # type: ignore[return-value]
        return encode(payload, self.config.encoder)

    def _start_feeds(self) -> None:
        for feed in self._feeds.values():
            self._start_feed(feed)

    def _stop_feeds(self) -> None:
        for feed in self._feeds.values():
            feed._interrupt()

    def _start_feed(self, feed: Feed) -> None:
        feed._task = self._handlers.spawn(feed._run(), f"feed {feed.name}")

    def _record_feed(self, feed: Feed) -> None:
        """Overridden by the part that keeps verdicts."""

    async def _until_room(self, call: str) -> None:
        waiter = self._loop.create_future()
        self._room.append(waiter)
        await waiter
        if self._native is None:
            raise NotRunning(call, self._state)

    def _resume_publishers(self) -> None:
        waiters, self._room = self._room, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _ids(name: str, connections: object) -> list[str]:
    """The ids of connections; an error says what is there instead."""
    from .connection import Connection

    if isinstance(connections, str) or not isinstance(connections, Iterable):
        kind = type(connections).__name__
        raise TypeError(f"broadcast: {name} is a list of connections, not {kind}; for users there is user=…")
    ids = []
    for connection in connections:
        if not isinstance(connection, Connection):
            kind = type(connection).__name__
            raise TypeError(
                f"broadcast: {name} holds connections, not {kind}; server.connection(id) finds one"
            )
        ids.append(connection.id)
    return ids
