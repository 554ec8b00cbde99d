"""The pool never exceeds its maximum: four shards, a slow `on_connect`, silent sockets, and five clients per slot."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import streamconductor as sc
from tests.support.live import get, server_with
from tests.support.raw import head

SLOTS, RIVALS, SILENT = 100, 500, 300
RUNS = 20


class Crowd:
    """Rivals for the slots, and how many of them were connected at once, as they themselves see it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connected = 0
        self.peak = 0
        self.statuses: list[int] = []

    async def race(self) -> None:
        """All at once; whoever gets in stays for a while, then goes."""
        await asyncio.gather(*(self._rival(number) for number in range(RIVALS)))

    async def _rival(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head("/"))
            answer = await reader.readuntil(b"\r\n\r\n")
            status = int(answer.split(b" ", 2)[1])
            self.statuses.append(status)
            if status == 101:
                self.connected += 1
                self.peak = max(self.peak, self.connected)
                # Until it is evicted, or has had enough: some go soon and make room within the race.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02 * (number % 5)):
                        await reader.read()
                # Not counted any more before the server can know of it.
                self.connected -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.statuses.append(0)
        finally:
            # A reset: the server learns of it at once.
            writer.transport.abort()


@contextlib.contextmanager
def silent_sockets(port: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield


async def alive(port: int, statuses: list[int], stop: asyncio.Event) -> None:
    while not stop.is_set():
        statuses.append((await get(port, "/livez"))[0])
        await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("eviction", ["reject", "idle"])
async def test_the_pool_never_exceeds_its_maximum(eviction: str) -> None:
    server = server_with(threads=4, max_connections=SLOTS, eviction=eviction, backlog=1024)
    asked = 0

    @server.route("/")
    async def stay(connection: sc.Connection[Any]) -> None:
        async for _ in connection:
            pass

    @server.on_connect
    async def slow(request: sc.Request) -> sc.Accept[None]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.001 * (asked % 20))
        return sc.Accept()

    async with server:
        probes: list[int] = []
        stop = asyncio.Event()
        probing = asyncio.create_task(alive(server.port, probes, stop))
        accepted = 0
        for _ in range(RUNS):
            crowd = Crowd(server.port)
            with silent_sockets(server.port):
                await crowd.race()
            assert len(crowd.statuses) == RIVALS
            accepted += crowd.statuses.count(101)
            assert set(crowd.statuses) <= {101, 503}
            if eviction == "reject":
                # With eviction a client learns a moment later than the server that its slot is another's.
                assert crowd.peak <= SLOTS
            pool = server.status()["pool"]["connections"]
            assert pool["peak"] <= pool["maximum"] == SLOTS
        stop.set()
        await probing
        assert accepted >= RUNS * SLOTS, "the race was none"
        assert server.status()["pool"]["connections"]["peak"] == SLOTS
        assert server.status()["handshakes"]["accepted"] == accepted
        if eviction == "idle":
            assert server.status()["endings"]["evicted"] > 0
        assert set(probes) == {200}
        assert len(probes) > RUNS
