"""Receives a server · serves until SIGTERM or SIGINT, then shuts down · owns the process's signal handlers, which
nothing else in the package touches.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Server

__all__ = ["run", "serve_until_stopped"]

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


def run(server: Server, *, uvloop: bool | None = None) -> None:
    """Serves on an event loop of its own until SIGTERM or SIGINT, then returns.

    The first signal is `server.shutdown()`, within `Config.shutdown_grace`; a second one resets what is left at
    once; from then on signals do what they did before, so that a third ends the process.

    Args:
        server: a server that does not run yet.
        uvloop: whether to use uvloop; `None`: when it is installed.

    Raises:
        BindError: an address cannot be listened on.
        RuntimeError: this is not the main thread, a loop runs already, or uvloop is wanted and not installed.
    """
    from .server import Server

    given: object = server
    if not isinstance(given, Server):
        raise TypeError(f"run takes a Server, not {given!r}")
    serve_until_stopped(server, uvloop=uvloop)


def serve_until_stopped(
    server: Server,
    *,
    uvloop: bool | None = None,
    on_start: Callable[[], None] | None = None,
    on_hangup: Callable[[], None] | None = None,
) -> None:
    """As `run`, for the command line.

    Args:
        server: a server that does not run yet.
        uvloop: as in `run`.
        on_start: called on the loop once the server serves.
        on_hangup: called on the loop at each SIGHUP; `None`: SIGHUP does what it did before.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "sc.run belongs in the main thread, where signals arrive; "
            "elsewhere: async with server: await server.serve_forever()"
        )
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(
            "sc.run starts an event loop, and one runs here already; "
            "inside it: async with server: await server.serve_forever()"
        )
    with _handlers_restored(), asyncio.Runner(loop_factory=loop_factory(uvloop)) as runner:
        runner.run(_serve(server, on_start, on_hangup))


def loop_factory(uvloop: bool | None) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None: asyncio's default. The argument is that of `run`."""
    if uvloop is False:
        return None
    try:
        import uvloop as module
    except ImportError:
        if uvloop:
            raise RuntimeError("uvloop is not installed; pip install streamconductor[uvloop]") from None
        return None
    return module.new_event_loop


async def _serve(
    server: Server, on_start: Callable[[], None] | None, on_hangup: Callable[[], None] | None
) -> None:
    loop = asyncio.get_running_loop()
    asked, insisted = asyncio.Event(), asyncio.Event()
    for number in _STOPPING:
        loop.add_signal_handler(number, lambda: (insisted if asked.is_set() else asked).set())
    if on_hangup is not None and _HANGUP is not None:
        loop.add_signal_handler(_HANGUP, on_hangup)
    try:
        starting = loop.create_task(server.start())
        if not await _ends_before(starting, asked):
            # Looking up a host name may take long.
            starting.cancel()
            await asyncio.wait([starting])
            return
        await starting
        if on_start is not None:
            on_start()
        serving = loop.create_task(server.serve_forever())
        if not await _ends_before(serving, asked):
            stopping = loop.create_task(server.shutdown())
            if not await _ends_before(stopping, insisted):
                for number in _STOPPING:
                    loop.remove_signal_handler(number)
                await server.shutdown(0)
        await serving
    finally:
        await server.shutdown(0)


async def _ends_before(task: asyncio.Task[None], event: asyncio.Event) -> bool:
    """Waits for the task or the event: whether the task was first."""
    happening = asyncio.ensure_future(event.wait())
    await asyncio.wait([task, happening], return_when=asyncio.FIRST_COMPLETED)
    happening.cancel()
    return task.done()


@contextmanager
def _handlers_restored() -> Iterator[None]:
    numbers = [*_STOPPING, *([] if _HANGUP is None else [_HANGUP])]
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            # None: installed by something other than Python, which cannot be named here.
            if handler is not None:
                signal.signal(number, handler)
