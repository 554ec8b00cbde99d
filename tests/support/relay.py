"""Receives TCP connections from the peer under test · hands their bytes to a target and back, until told to
swallow them · owns both sockets of every pair, so that neither end sees a FIN or a reset before it is left.

A process cannot lose packets on purpose. What it can do is hold both sockets open and move nothing, which is
what either end of a link sees when a cable is pulled or a stateful firewall forgets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from types import TracebackType
from typing import Self

CHUNK = 65_536


class Relay:
    """A relay in front of `port`; `async with` it, connect to `relay.port`, then call `black_hole`."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._swallow_new = False
        self._sockets: list[socket.socket] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._arrivals: asyncio.Queue[float] = asyncio.Queue()
        self._listener = socket.create_server((host, 0))
        self._listener.setblocking(False)

    @property
    def port(self) -> int:
        """Where the relay listens."""
        return int(self._listener.getsockname()[1])

    async def arrival(self) -> float:
        """Waits for the next attempt that nobody has asked for yet; its `time.monotonic()`."""
        return await self._arrivals.get()

    def black_hole(self, *, new: bool = False) -> float:
        """Swallows whatever the present pairs send from now on; with `new`, what later ones send too.

        Returns the `time.monotonic()` of the last moment at which a byte can have passed. Attempts that have
        arrived before are forgotten: `arrival` waits for one that comes after.
        """
        self._swallow_new = new
        while not self._arrivals.empty():
            self._arrivals.get_nowait()
        for pump in self._pumps:
            pump.cancel()
        self._pumps.clear()
        return time.monotonic()

    def restore(self) -> None:
        """Serves new connections again; the swallowed ones stay lost."""
        self._swallow_new = False

    async def __aenter__(self) -> Self:
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks = [self._accepting, *self._pumps]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in [self._listener, *self._sockets]:
            each.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            self._sockets.append(near)
            self._arrivals.put_nowait(time.monotonic())
            if self._swallow_new:
                continue
            far = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            far.setblocking(False)
            self._sockets.append(far)
            try:
                await loop.sock_connect(far, self._target)
            except OSError:
                near.close()
                far.close()
                continue
            for source, sink in ((near, far), (far, near)):
                pump = asyncio.create_task(self._pump(source, sink))
                self._pumps.add(pump)
                pump.add_done_callback(self._pumps.discard)

    @staticmethod
    async def _pump(source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        # A cancelled pump must not close anything: the sockets stay open, and the link is a black hole.
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, CHUNK):
                await loop.sock_sendall(sink, data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
