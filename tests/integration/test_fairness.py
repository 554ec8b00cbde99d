"""A peer that never stops sending does not keep others from being heard."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import threading
import time
from typing import Any

import streamconductor as sc
from tests.support import frames
from tests.support.live import client, get, peer_of, server_with, until


async def test_senders_without_end_leave_room_for_probes_newcomers_and_echoes() -> None:
    # One shard, which also accepts. Messages so large that it is busy with them without Python's help.
    server = server_with(threads=1, max_message_size="64MiB", max_inbound="256MiB", memory_budget="2GiB")

    @server.on_message("/discard")
    def discard(connection: sc.Connection[Any], message: str | bytes) -> None:
        """Takes it, and that is all."""

    @server.on_message("/echo")
    def echo(connection: sc.Connection[Any], message: str | bytes) -> None:
        connection.send_nowait(message)

    # A mask of zeros costs the sender nothing.
    message = frames.frame(frames.BINARY, bytes(32 * 2**20), mask=b"\0\0\0\0")
    over = threading.Event()

    def flood() -> None:
        with contextlib.suppress(OSError), peer_of(server, "/discard") as peer:
            while not over.is_set():
                peer.send(message)

    async with server:
        floods = [asyncio.create_task(asyncio.to_thread(flood)) for _ in range(3)]
        try:
            await until(lambda: server.status()["traffic"]["received"]["messages"] > 3, 20)
            times = []
            for _ in range(30):
                began = time.monotonic()
                assert (await get(server.port, "/livez"))[0] == 200
                async with client(server, "/echo") as peer:
                    await peer.send("heard?")
                    assert await peer.recv() == "heard?"
                times.append(time.monotonic() - began)
            assert statistics.median(times) < 0.15, times
            assert max(times) < 3
        finally:
            over.set()
            for connection in server.connections():
                connection.close()
            await asyncio.gather(*floods)
