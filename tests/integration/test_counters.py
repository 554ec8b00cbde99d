"""What a turn costs, in counts that no noise can change: writes, wakes, turns."""

from __future__ import annotations

import asyncio
import socket

import pytest

import streamconductor as sc
from tests.support.raw import head

SUBSCRIBERS = 1_000
PUBLICATIONS = 16


async def _subscribe(port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    peer = socket.socket()
    peer.setblocking(False)
    await loop.sock_connect(peer, ("127.0.0.1", port))
    await loop.sock_sendall(peer, head("/news"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(peer, 4096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return peer


async def _read(peer: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        data += await loop.sock_recv(peer, count - len(data))
    return data


@pytest.mark.parametrize("threads", [1, 4])
async def test_sixteen_publications_of_a_turn_go_out_in_one_write_each_with_one_wake(threads: int) -> None:
    server = sc.Server(sc.Config(port=0, threads=threads, memory_budget="1GiB", ping_interval=None))
    server.push("/news")

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None]:
        return sc.Accept(subscribe=["news"])

    async with server:
        peers = await asyncio.gather(*(_subscribe(server.port) for _ in range(SUBSCRIBERS)))
        try:
            # The first publication proves that all joins have come through.
            assert server.publish_nowait("news", "ready") == SUBSCRIBERS
            await asyncio.gather(*(_read(peer, 2 + 5) for peer in peers))
            before = server.status()["shards"]

            payload = "x" * 100
            for _ in range(PUBLICATIONS):
                server.publish_nowait("news", payload)
            received = await asyncio.gather(*(_read(peer, PUBLICATIONS * 102) for peer in peers))

            after = server.status()["shards"]
            assert set(received) == {(b"\x81\x64" + payload.encode()) * PUBLICATIONS}
            # A socket that was full for a moment may need a second write.
            assert after["writes"] - before["writes"] <= SUBSCRIBERS * 1.1
            # One for the publications; the others are for the questions of the two `status` calls.
            assert after["wakes"] - before["wakes"] <= 1 + threads
        finally:
            for peer in peers:
                peer.close()


async def test_a_turn_is_bounded_while_twenty_thousand_are_told() -> None:
    """2,000 connections with ten subscriptions' worth of publications: 20,000 deliveries do not make one long turn."""
    server = sc.Server(sc.Config(port=0, threads=1, memory_budget="1GiB", ping_interval=None))
    server.push("/news")

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None]:
        return sc.Accept(subscribe=[f"news:{number}" for number in range(10)])

    async with server:
        peers = [await _subscribe(server.port) for _ in range(2_000)]
        try:
            before = server.status()["shards"]
            for number in range(10):
                assert server.publish_nowait(f"news:{number}", "x" * 100) == 2_000
            await asyncio.gather(*(_read(peer, 10 * 102) for peer in peers))
            after = server.status()["shards"]
            # 256 writes a turn: the deliveries of 2,000 connections need at least eight.
            assert after["turns"] - before["turns"] >= 8
            # And what gathered for each connection went out in few writes, not in ten.
            assert after["writes"] - before["writes"] <= 2_000 * 3
        finally:
            for peer in peers:
                peer.close()
