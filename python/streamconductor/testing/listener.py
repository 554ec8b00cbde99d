"""Receives the wish to listen, or to refuse · hands each accepted socket to the proxy · owns the listening socket, and
the address, which stays the proxy's while nobody listens there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from .link import open_socket

__all__ = ["Listener"]

_BACKLOG = 1_024
# Seconds until accepting is tried again when the process has no descriptor left.
_OUT_OF_DESCRIPTORS = 0.05


class Listener:
    """Listens on a port of the system's choice, or on a path.

    Args:
        host: the address of the port.
        path: instead, a Unix socket's; `None`: there is none.
        accepted: is called with every new socket.
    """

    def __init__(self, host: str, path: str | None, accepted: Callable[[socket.socket], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._accepted = accepted
        self._listening: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._keeper: socket.socket | None = None
        self._address: tuple[str, int] | str = path or (host, 0)
        self._family = socket.AF_UNIX if path is not None else _family(host)
        if path is None:
            # Bound and never listening: it keeps the port while connections are refused.
            self._keeper = self._bound()
            self._address = (host, self._keeper.getsockname()[1])

    @property
    def port(self) -> int:
        """The port; 0 for a Unix socket."""
        return 0 if isinstance(self._address, str) else self._address[1]

    def listen(self) -> None:
        """Accepts, if it does not yet."""
        if self._listening is None:
            self._listening = self._bound()
            self._listening.listen(_BACKLOG)
            self._watch(self._listening)

    def refuse(self) -> None:
        """Whoever connects from now on is refused by the kernel, and so is who was not accepted yet."""
        if self._listening is not None:
            if self._retry is not None:
                self._retry.cancel()
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None
            if self._path is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path)

    def close(self) -> None:
        """Gives the address back."""
        self.refuse()
        if self._keeper is not None:
            self._keeper.close()

    def _bound(self) -> socket.socket:
        opened = open_socket(self._family)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(self._address)
        except OSError:
            opened.close()
            raise
        return opened

    def _watch(self, listening: socket.socket) -> None:
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            # The socket stays readable, and a loop that tries all the time does nothing else.
            self._loop.remove_reader(listening)
            self._retry = self._loop.call_later(_OUT_OF_DESCRIPTORS, self._watch, listening)
            return
        accepted.setblocking(False)
        if self._family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted(accepted)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
