"""Receives async iterables of publications · publishes what they yield, no faster than the mailboxes take it ·
owns their supervision: back-off, state and what `/status` and `/readyz` say of them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .publishing import Publishing

__all__ = ["Feed", "Source"]

logger = logging.getLogger("streamconductor.feed")

Source = AsyncIterable[Any] | Callable[[], AsyncIterable[Any]]

# Seconds: first delay, longest delay, and how long it must have run for the delay to start anew.
_FIRST_DELAY, _LONGEST_DELAY, _STABLE = 0.5, 30.0, 60.0


class Feed:
    """One supervised source.

    Attributes:
        name: its name in `/status` and, as ``feed:<name>``, in `/readyz`.
        state: ``"running"``, ``"waiting"`` (for the start or the next attempt), ``"ended"`` or ``"failed"``.
        published: publications so far.
        restarts: attempts after the first.
        error: what ended the last attempt, as text; empty while all is well.
    """

    def __init__(
        self, server: Publishing, source: Source, name: str, channel: str | None, required: bool
    ) -> None:
        self._server = server
        self._source = source
        self.name = name
        self.channel = channel
        self.required = required
        self.state = "waiting"
        self.published = 0
        self.restarts = 0
        self.error = ""
        self._task: asyncio.Task[Any] | None = None
        self._is_over = False

    def stop(self) -> None:
        """Ends the feed for good; `server.feed` may start another.

        Raises:
            WrongThread: not called on the loop's thread while the server runs.
        """
        if self._server._native is not None:
            self._server._running("Feed.stop")
        self._is_over = True
        self._set("ended", "")
        self._interrupt()

    def _interrupt(self) -> None:
        """The server stops; a feed that can be asked again runs again with the server's next start."""
        if self._task is not None:
            self._task.cancel()

    def describe(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "state": self.state,
            "published": self.published,
            "restarts": self.restarts,
            "error": self.kind_of_error,
        }

    @property
    def kind_of_error(self) -> str:
        """What `/status` and `/readyz` say: an exception's text may repeat a payload, and was not written for them."""
        return self.error.partition(":")[0]

    async def _run(self) -> None:
        if self._is_over:
            return
        delay = _FIRST_DELAY
        while True:
            started = time.monotonic()
            try:
                self._set("running", "")
                await self._publish_all()
            except BaseException as error:
                if _is_for_us(error):
                    if not self._is_over:
                        self._set("waiting", "")
                    raise
                self.error = f"{type(error).__name__}: {error}"
                logger.error("feed %s failed", self.name, exc_info=error)
                if not callable(self._source):
                    # An iterator that raised cannot be asked again.
                    self._set("failed", self.error)
                    return
            else:
                self._set("ended", "")
                return
            if time.monotonic() - started > _STABLE:
                delay = _FIRST_DELAY
            self._set("waiting", self.error)
            await asyncio.sleep(random.uniform(0, delay))
            delay = min(delay * 2, _LONGEST_DELAY)
            self.restarts += 1

    async def _publish_all(self) -> None:
        source = self._source() if callable(self._source) else self._source
        try:
            async for item in source:
                channel, payload, key = self._parts(item)
                # Waits while the mailboxes are full, and so does not read on.
                await self._server.publish(channel, payload, key=key)
                self.published += 1
        finally:
            # A generator that is left in the middle would be closed whenever it is collected, by anybody's loop.
            if (close := getattr(source, "aclose", None)) is not None:
                await close()

    def _parts(self, item: Any) -> tuple[str, Any, str | None]:
        if self.channel is not None:
            return self.channel, item, None
        if isinstance(item, tuple) and len(item) in (2, 3):
            channel, payload, key = (*item, None)[:3]
            return channel, payload, key
        kind = type(item).__name__
        raise TypeError(
            f"feed {self.name} yielded {kind}; yield (channel, payload) or (channel, payload, key), "
            "or give feed(channel=…)"
        )

    def _set(self, state: str, error: str) -> None:
        self.state, self.error = state, error
        self._server._record_feed(self)


def _is_for_us(error: BaseException) -> bool:
    """Whether it ends the feed's task, and is no failure of the source, which may have been cancelled by others."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit)
