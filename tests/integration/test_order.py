"""Four shards, two publishing threads, one order: every subscriber gets the same sequence."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

import streamconductor as sc
from tests.support.live import client, server_with, until

SUBSCRIBERS = 40
MESSAGES = 3_000
"""From each thread."""


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads take the interpreter from each other often, so that publications of both are mixed."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
@pytest.mark.parametrize("channels", [1, 5])
async def test_all_subscribers_see_one_order(channels: int) -> None:
    server = server_with(threads=4)

    @server.route("/")
    async def subscribe(connection: sc.Connection[Any]) -> None:
        for number in range(channels):
            connection.subscribe(f"channel {number}")
        async for _ in connection:
            pass

    def publish(name: str, start: threading.Barrier) -> None:
        start.wait()
        for number in range(MESSAGES):
            channel = number % channels
            if number % 10 == 0:
                # Lets the other thread come in between.
                time.sleep(0)
            while True:
                try:
                    server.publish_nowait(f"channel {channel}", f"{channel} {name} {number}")
                    break
                except sc.Overloaded:
                    # The room is made by a shard, which needs nothing of this thread.
                    threading.Event().wait(0.001)

    async def received(peer: ClientConnection) -> list[str]:
        messages: list[str] = []
        while len(messages) < 2 * MESSAGES:
            # Empty ones only asked how many subscribers there were.
            messages.extend(filter(None, [str(await peer.recv())]))
        return messages

    async with server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(client(server)) for _ in range(SUBSCRIBERS)]
        await until(
            lambda: all(
                server.publish_nowait(f"channel {number}", "") == SUBSCRIBERS for number in range(channels)
            )
        )
        start = threading.Barrier(2)
        readings = [asyncio.create_task(received(peer)) for peer in peers]
        await asyncio.gather(*(asyncio.to_thread(publish, name, start) for name in "ab"))
        sequences = await asyncio.gather(*readings)
        for channel in range(channels):
            of_channel = [
                [message for message in sequence if message.startswith(f"{channel} ")]
                for sequence in sequences
            ]
            assert all(sequence == of_channel[0] for sequence in of_channel)
            for name in "ab":
                numbers = [int(text.split()[2]) for text in of_channel[0] if f" {name} " in text]
                assert numbers == list(range(channel, MESSAGES, channels)), "a thread's own order"
            # The threads did race.
            names = [text.split()[1] for text in of_channel[0]]
            assert sum(one != other for one, other in itertools.pairwise(names)) > 1
