"""Receives servers that have started · stops those that still run when the interpreter exits · owns the bound on
how long that takes.

A server outlives its loop where nobody awaited `shutdown`: the loop was stopped, `sys.exit` was called in another
thread, the loop runs in a daemon thread. Its shards must have ended before the interpreter is torn down.
"""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Server

__all__ = ["stop_at_exit", "stop_now"]

logger = logging.getLogger("streamconductor.server")

# Seconds for the native threads of all servers to end.
_PATIENCE = 2.0

_started: weakref.WeakSet[Server] = weakref.WeakSet()


def stop_at_exit(server: Server) -> None:
    """Has the server stopped, with what connections it has then reset, if the interpreter exits while it runs."""
    _started.add(server)


@atexit.register
def _stop_all() -> None:
    for server in tuple(_started):
        # After a fork the threads are the parent's, who stops them.
        if server._process == os.getpid():
            stop_now(server)


def stop_now(server: Server) -> None:
    """Resets what connections a server has and ends its threads, without its loop."""
    if server._native is None:
        return
    native, server._native, server._state = server._native, None, "stopped"
    native.abandon()
    # Lets go of the interpreter's lock: a loop in another thread goes on, and finds no server any more.
    if not native.stop(_PATIENCE):
        logger.error("native threads did not end within %s s", _PATIENCE)
