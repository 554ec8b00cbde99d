"""Receives what the shards say, in batches · hands each item to the part that it is about · owns the order in which
the application hears of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .connection import Connection
from .notices import Backpressure, Closed

if TYPE_CHECKING:
    from . import _core
    from .arrivals import Arrivals
    from .entry_log import EntryLog
    from .handlers import Handlers
    from .registration import Route

__all__ = ["Dispatcher"]

logger = logging.getLogger("streamconductor.server")

# The sorts of events, as in the native bridge.
(
    _MESSAGE,
    _ARRIVED,
    _WITHDRAWN,
    _OPENED,
    _WRITABLE,
    _BACKPRESSURE,
    _CLOSED,
    _ORIGIN_REFUSED,
    _DEPARTED,
    _ROOM,
    _FAILED,
    _RECONFIGURE,
    _REFUSED,
    _FORWARDING_IGNORED,
    _RESUMED,
    _CONNECTED,
    _TOLD,
) = range(17)


class Dispatcher:
    """Takes the events of one run of a server to their receivers, in the order of their arrival."""

    def __init__(
        self,
        native: _core.Server,
        routes: list[Route],
        arrivals: Arrivals,
        handlers: Handlers,
        entry_log: EntryLog,
        *,
        on_birth: Callable[..., object],
        on_room: Callable[[], None],
        on_failure: Callable[[str], None],
        on_reconfigure: Callable[[str, _core.Answer], None],
        on_connected: Callable[[Connection[Any], int], None],
        on_told: Callable[..., None],
    ) -> None:
        self._native = native
        self._routes = routes
        self._arrivals = arrivals
        self._handlers = handlers
        self._entry_log = entry_log
        self._on_birth = on_birth
        self._on_room = on_room
        self._on_failure = on_failure
        self._on_reconfigure = on_reconfigure
        self._on_connected = on_connected
        self._on_told = on_told
        self._loop = asyncio.get_running_loop()
        # Batches taken from the shards: what is left of the first, and those behind it.
        self._batches: deque[Iterator[tuple[int, Any, Any]]] = deque()
        self._is_stopped = False
        # Whether tasks will be resumed that may send as soon as they run.
        self._resumes = False
        # What tasks are resumed with: they look at it only to see that it is done.
        self._done = self._loop.create_future()
        self._done.set_result(None)
        self.departed = self._loop.create_future()
        """Done when every shard has said that none of its connections is left."""
        self._shards_left = 0

    def start(self, shards: int) -> None:
        """Listens to the doorbell from now on."""
        self._shards_left = shards
        self._loop.add_reader(self._native.fileno(), self.run)

    def stop(self) -> None:
        """Whatever the shards still say is for nobody."""
        if not self._is_stopped:
            self._is_stopped = True
            self._loop.remove_reader(self._native.fileno())

    def run(self) -> None:
        """Takes one list from the shards and hands its items on."""
        if self._is_stopped:
            return
        is_more = False
        try:
            is_more = self._take()
            while self._batches:
                self._hand_on(self._batches[0])
                self._batches.popleft()
        except BaseException:
            # What a task lets through ends the loop, or not: the items behind it must not get lost.
            self._loop.call_soon(self.run)
            raise
        finally:
            if self._resumes:
                # Behind the tasks that run in the next round: their sends go out with one wake.
                self._resumes = False
                self._loop.call_soon(self._native.uncork)
            else:
                # What was sent already; another round of the loop would be for nothing else.
                self._native.uncork()
        if is_more:
            self._loop.call_soon(self.run)

    def collect(self) -> None:
        """Takes all that the shards have said. Nothing of the application's is called here: the items keep their
        turn, behind those that are being handed on.
        """
        while self._take():
            pass
        # The doorbell is silent now.
        self._loop.call_soon(self.run)

    def _take(self) -> bool:
        flat, born, is_more = self._native.drain()
        # At once: whoever looks for connections finds these from now on.
        for birth in born or ():
            try:
                self._on_birth(*birth)
            except Exception:
                logger.exception("a connection could not be made")
        if flat:
            items = iter(flat)
            self._batches.append(zip(items, items, items, strict=True))
        return is_more

    def _hand_on(self, batch: Iterator[tuple[int, Any, Any]]) -> None:
        done = self._done
        # A task cannot run within another; who runs the loop within a task gets them a round later.
        is_free = asyncio.current_task(self._loop) is None
        for sort, whom, what in batch:
            try:
                if sort == _RESUMED:
                    # At once, and not by a call of the loop for each: that costs as much as the task's own turn.
                    if is_free:
                        whom(what, done)
                    else:
                        self._resumes = True
                        self._loop.call_soon(whom, what, done)
                elif sort == _MESSAGE:
                    self._handlers.received(whom, what)
                else:
                    self._happened(sort, whom, what)
            except Exception:
                # A mistake of ours or of a callback that nobody guards: the items behind it must not get lost.
                logger.exception("event %d could not be handed on", sort)

    def _happened(self, sort: int, whom: Any, what: Any) -> None:
        if sort == _OPENED:
            self._resumes = True
            self._opened(whom, what)
        elif sort == _WRITABLE:
            self._resumes = True
            whom._write()
        elif sort == _CLOSED:
            *facts, ticket = what
            if isinstance(whom, Connection):
                self._handlers.closed(whom, Closed(*facts), ticket)
        elif sort == _ARRIVED:
            self._arrivals.arrived(whom, what, self._handlers)
        elif sort == _WITHDRAWN:
            self._arrivals.withdrawn(whom)
        elif sort == _BACKPRESSURE:
            self._handlers.pressed(whom, Backpressure(*what))
        elif sort == _ROOM:
            self._resumes = True
            self._on_room()
        elif sort == _DEPARTED:
            self._shards_left -= 1
            if self._shards_left == 0 and not self.departed.done():
                self.departed.set_result(None)
        elif sort == _ORIGIN_REFUSED:
            logger.warning("origin %r was refused; to allow it: Config(origins=[%r])", what, what)
        elif sort == _REFUSED:
            self._entry_log.refused(*what)
        elif sort == _FORWARDING_IGNORED:
            self._entry_log.forwarding_ignored(what)
        elif sort == _FAILED:
            self._on_failure(what)
        elif sort == _RECONFIGURE:
            self._on_reconfigure(*what)
        elif sort == _CONNECTED:
            self._resumes = True
            self._handlers.opened(whom, None)
            self._on_connected(whom, what)
        elif sort == _TOLD:
            self._resumes = True
            self._on_told(*what)

    def _opened(self, whom: Any, what: Any) -> None:
        if isinstance(whom, Connection):
            route = self._routes[what]
            whom._callback = route.callback
            self._handlers.opened(whom, route.handler)
        else:
            # Nobody will ask for what `Accept` said of it: no Python object stands for it.
            self._arrivals.opened(whom)
