"""Receives opened and ended connections · runs their handlers, callbacks and `on_close` · owns the life of a
handler, and that no exception of one reaches anybody else.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from .close import CloseCode
from .errors import ConnectionClosed, MessageRefused
from .notices import State
from .rate_limited import RateLimited

if TYPE_CHECKING:
    from ._core import Ticket
    from .connection import Backpressure, Closed, Connection
    from .registration import Handler, OnBackpressure, OnClose

__all__ = ["Handlers"]

logger = logging.getLogger("streamconductor.handler")


class Life:
    """What runs for one connection, until all of it has ended."""

    __slots__ = ("connection", "task", "ticket", "timer")

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        # Dropped with this object: the native half then knows that Python has finished with the connection.
        self.ticket: Ticket | None = None

    def is_over(self) -> bool:
        """Whether no handler runs, nor will: one that is cancelled before its first step never sees that step."""
        task = self.task
        if task is None or task.done():
            return True
        coroutine: Any = task.get_coro()
        return task.cancelling() > 0 and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


class Handlers:
    """Runs what the application registered for connections."""

    def __init__(self, on_close: list[OnClose], on_backpressure: list[OnBackpressure]) -> None:
        self._on_close = on_close
        self._on_backpressure = on_backpressure
        self._lives: dict[Connection[Any], Life] = {}
        self._log = RateLimited(logger)
        self._group: asyncio.TaskGroup | None = None
        self._context = contextvars.copy_context()
        self._is_over = False
        self.timeout = 10.0
        self._emptied: list[asyncio.Future[None]] = []

    def start(self, group: asyncio.TaskGroup, timeout: float) -> None:
        """Runs handlers in `group` from now on; `timeout` is `Config.handler_timeout`."""
        self._group, self.timeout = group, timeout
        self._context = contextvars.copy_context()

    @property
    def running(self) -> int:
        """Connections whose handler or `on_close` has not ended."""
        return len(self._lives)

    async def emptied(self) -> None:
        """Waits until none is running."""
        while self._lives:
            waiter = asyncio.get_running_loop().create_future()
            self._emptied.append(waiter)
            await waiter

    def cancel_all(self) -> None:
        """Cancels every handler, and any that still begins; the grace is over."""
        self._is_over = True
        late = [life for life in self._lives.values() if not life.is_over()]
        if late:
            logger.warning("%d handlers did not end within the shutdown's grace and are cancelled", len(late))
        for life in late:
            self._cancel(life)

    # What happens to connections.

    def opened(self, connection: Connection[Any], handler: Handler | None) -> None:
        """A connection is open."""
        life = self._lives[connection] = Life(connection)
        if handler is not None:
            # The name is one that is there already, and no callback is added to the task: both would be kept for
            # as long as the connection waits.
            name = getattr(handler, "__qualname__", "handler")
            life.task = self._start(self._handle(life, handler), name)
            if self._is_over:
                life.task.cancel()

    def received(self, connection: Connection[Any], message: str | bytes) -> None:
        """A message for an `on_message` function."""
        if (callback := connection._callback) is None:
            return
        connection._handle.taken(message)
        try:
            callback(connection, message)
        except BaseException as error:
            # What came before the peer could be told is for nobody.
            connection._callback = _ignore
            if not _is_its_end(connection, error):
                self._failed(connection, error)

    def pressed(self, connection: Connection[Any], event: Backpressure) -> None:
        """A mark was crossed, or messages were dropped."""
        for function in self._on_backpressure:
            self.guarded("on_backpressure", function, connection, event)

    def closed(self, connection: Connection[Any], closed: Closed, ticket: Ticket | None) -> None:
        """A connection has ended."""
        connection._end(closed)
        life = self._lives.get(connection)
        if life is None:
            return
        life.ticket = ticket
        if life.is_over():
            self._finish(life)
        else:
            loop = asyncio.get_running_loop()
            life.timer = loop.call_later(self.timeout, self._overdue, life)

    def guarded(self, what: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls a plain function of the application; what it raises is logged."""
        try:
            function(*arguments)
        except BaseException as error:
            self._log.exception("%s raised", what, error=error)

    def spawn(self, coroutine: Any, name: str) -> asyncio.Task[Any]:
        """Starts a task in the server's group; whatever it raises is logged and goes no further."""
        try:
            task = self._start(self._contained(coroutine, name), name)
        except RuntimeError:
            coroutine.close()
            raise
        # A task that is cancelled before its first step never gets to what it contains.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    def _start(self, contained: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Starts a task in the server's group; nothing but its cancellation may leave it."""
        try:
            if self._group is None:
                raise RuntimeError("the server is not running")
            return self._group.create_task(contained, name=name)
        except RuntimeError:
            contained.close()
            raise

    async def _contained(self, coroutine: Any, name: str) -> Any:
        try:
            return await coroutine
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # KeyboardInterrupt and SystemExit, too: raised in a handler they concern that handler only, and in a
            # TaskGroup they would end every other.
            self._log.exception("%s raised", name, error=error)
            return None

    async def _handle(self, life: Life, handler: Handler) -> None:
        # In place of `_contained`, and not within it: every connection that waits keeps this coroutine.
        connection = life.connection
        try:
            try:
                await handler(connection)
            except MessageRefused as refusal:
                connection._handle.end(int(refusal.code), refusal.reason)
            else:
                # Most handlers end because their connection has: then the shard need not be woken.
                if connection.closed is None:
                    connection._handle.end(CloseCode.NORMAL, "")
        except asyncio.CancelledError:
            connection._handle.end(CloseCode.INTERNAL_ERROR, "", True)
            raise
        except BaseException as error:
            if not _is_its_end(connection, error):
                self._failed(connection, error)
        finally:
            # Otherwise the ending is yet to come, and finds that the handler has gone.
            if connection.closed is not None:
                # What the handler has set in its context is not for `on_close`.
                self._context.run(self._finish, life)

    def _failed(self, connection: Connection[Any], error: BaseException) -> None:
        self._log.exception("handler of connection %s raised", connection.id, error=error)
        connection._handle.end(CloseCode.INTERNAL_ERROR, "", True)

    def _overdue(self, life: Life) -> None:
        """The connection ended long ago."""
        if not life.is_over():
            logger.warning(
                "handler of connection %s did not end in time and is cancelled", life.connection.id
            )
        self._cancel(life)

    def _cancel(self, life: Life) -> None:
        """Cancels the handler. What never runs cannot say that it has ended."""
        if life.task is not None:
            life.task.cancel()
        if life.is_over() and life.connection.closed is not None:
            self._finish(life)

    def _finish(self, life: Life) -> None:
        """Handler and connection have both ended: the connection's tasks go, then `on_close` runs."""
        connection = life.connection
        if life.timer is not None:
            life.timer.cancel()
        connection._finish()
        if self._on_close and self._group is not None:
            try:
                self.spawn(self._run_on_close(connection), f"on_close of {connection.id}")
                return
            except RuntimeError:
                # The group is shutting down: nobody may start a task in it any more.
                pass
        self._forget(connection)

    async def _run_on_close(self, connection: Connection[Any]) -> None:
        try:
            for function in self._on_close:
                try:
                    result = function(connection)
                    if inspect.isawaitable(result):
                        await result
                except asyncio.CancelledError:
                    raise
                except BaseException as error:
                    self._log.exception("on_close raised", error=error)
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection[Any]) -> None:
        self._lives.pop(connection, None)
        if not self._lives:
            waiters, self._emptied = self._emptied, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


def _ignore(connection: Connection[Any], message: str | bytes) -> None:
    """The callback of a connection whose callback has raised."""


def _is_its_end(connection: Connection[Any], error: BaseException) -> bool:
    """Whether a handler heard that its own connection has ended; of somebody else's it is an error like any other."""
    return isinstance(error, ConnectionClosed) and (
        connection.closed is not None or connection.state >= State.CLOSING
    )
