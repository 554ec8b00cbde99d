"""Receives the process, the loop and the thread that a server was started in · hands its other parts the native
half · owns the rules of who may call it, and when.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import TYPE_CHECKING

from . import _core
from .errors import ForkedProcess, NotRunning, UnsupportedEventLoop, WrongThread
from .registration import Registration

if TYPE_CHECKING:
    from .config import Config
    from .dispatch import Dispatcher
    from .handlers import Handlers

__all__ = ["Foundation"]

# The child of a fork has none of the native threads: every handle that it inherited must say so, and not wait.
os.register_at_fork(after_in_child=_core.forked)


class Foundation(Registration):
    """Whether a server runs, and for whom."""

    _loop: asyncio.AbstractEventLoop
    _handlers: Handlers
    _dispatcher: Dispatcher
    _opens = False
    """Whether its connections are opened by us."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._native: _core.Server | None = None
        self._state = "not started"
        self._process = os.getpid()
        self._thread = 0

    def _running(self, call: str) -> _core.Server:
        """The native half, for a call that belongs to the loop's thread."""
        native = self._running_anywhere(call)
        if threading.get_ident() != self._thread:
            raise WrongThread(call)
        # What happens meanwhile is handed to tasks and callbacks, which a loop at rest could not take.
        if asyncio._get_running_loop() is not self._loop:
            raise RuntimeError(
                f"{call} was called while the server's event loop does not run; call it inside that loop"
            )
        return native

    def _running_anywhere(self, call: str) -> _core.Server:
        """The native half, for a call that may come from any thread."""
        # Read once: the loop's thread may be stopping it meanwhile.
        native = self._native
        if native is None:
            raise NotRunning(call, self._state)
        self._check_process()
        return native

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ForkedProcess

    def _adopt_loop(self) -> None:
        """Makes this process, this thread and its loop the server's."""
        self._loop = _supported_loop()
        # It may have been made before a fork, like any module's global.
        self._process = os.getpid()
        self._thread = threading.get_ident()

    def _must_not_run(self, call: str) -> None:
        if getattr(self, "_native", None) is not None:
            raise RuntimeError(f"{call} must be registered before the server starts")

    def _define_channel(self, pattern: str, overflow: str | None, high_water: int | None) -> None:
        if getattr(self, "_native", None) is not None:
            self._running("channel").define_channel(pattern, overflow, high_water)


def _supported_loop() -> asyncio.AbstractEventLoop:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise UnsupportedEventLoop("trio" if "trio" in sys.modules else "none") from None
    # The Proactor loop of Windows has no readers.
    if type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
        raise UnsupportedEventLoop(type(loop).__name__)
    return loop
