"""A link that went dead is noticed, and another connection is being opened, within three heartbeat intervals."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

import streamconductor as sc
from streamconductor.testing import ChaosProxy

INTERVALS = [0.2, 1.0, pytest.param(5.0, marks=pytest.mark.slow)]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


class Elsewhere:
    """A server of the `websockets` library behind a proxy, in a loop and a thread of their own."""

    def __init__(self) -> None:
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self.proxy: ChaosProxy
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event

    def __enter__(self) -> Elsewhere:
        self._thread.start()
        assert self._is_up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with serve(echo, "127.0.0.1", 0, ping_interval=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with ChaosProxy("127.0.0.1", port) as self.proxy:
                self._is_up.set()
                await self._over.wait()

    def do(self, order: Callable[[], object]) -> None:
        """Gives the proxy an order; returns when it is done."""
        done = threading.Event()

        def act() -> None:
            order()
            done.set()

        self._loop.call_soon_threadsafe(act)
        assert done.wait(10)

    def result(self, coroutine: Coroutine[Any, Any, float], seconds: float) -> float:
        """What a coroutine of the proxy comes to, waited for here."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)


async def seconds_to_leave(interval: float, is_blocked: bool) -> float:
    """From the black hole to the next connection."""
    with Elsewhere() as elsewhere:
        proxy = elsewhere.proxy
        connections = aiter(sc.connect(proxy.url("/"), ping_interval=interval))
        async with asyncio.timeout(10 * interval + 10), contextlib.aclosing(connections):
            async for connection in connections:
                await connection.send("hello")
                assert await connection.recv() == "hello"
                at = time.monotonic()
                elsewhere.do(lambda: proxy.disturb(black_hole=True, scope="live"))
                patience = 3 * interval + 5
                if is_blocked:
                    # Nothing of this loop runs until the proxy has seen the new connection.
                    arrival = elsewhere.result(proxy.arrival(at), patience)
                else:
                    arrival = await asyncio.to_thread(elsewhere.result, proxy.arrival(at), patience)
                return arrival - at
    raise AssertionError("it was given up")


@pytest.mark.parametrize("is_blocked", [False, True], ids=["loop runs", "loop is blocked"])
@pytest.mark.parametrize("interval", INTERVALS)
async def test_a_black_hole_is_left_within_three_intervals(interval: float, is_blocked: bool) -> None:
    taken = await seconds_to_leave(interval, is_blocked)
    for _ in range(2):
        # A machine that gives a thread no turn for a fifth of a second is not what this is about.
        if taken > 3 * interval and interval < 1:
            taken = await seconds_to_leave(interval, is_blocked)
    print(f"after {taken / interval:.2f} intervals")
    assert taken <= 3 * interval
