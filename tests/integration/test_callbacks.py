"""What an `on_message` function may raise when the connection that it speaks to has ended."""

from __future__ import annotations

import asyncio
import logging

import pytest

import streamconductor as sc
from tests.support import frames
from tests.support.live import client, ending, peer_of, server_with, text, until


async def test_a_callback_that_hears_of_its_own_end_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    server = server_with()
    heard: list[sc.ConnectionClosed] = []

    @server.on_message("/")
    def echo(connection: sc.Connection[None], message: str | bytes) -> None:
        try:
            connection.send_nowait(message)
        except sc.ConnectionClosed as error:
            heard.append(error)
            raise

    async with server:
        peer = await asyncio.to_thread(peer_of, server)
        # In one piece: when Python gets the message, the connection is closing already.
        peer.send(text("too late"), frames.frame(frames.CLOSE, (1000).to_bytes(2, "big")))
        await until(lambda: heard)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_callback_that_hears_of_the_end_of_another_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = server_with()
    connections: list[sc.Connection[None]] = []

    @server.on_message("/")
    def pass_on(connection: sc.Connection[None], message: str | bytes) -> None:
        connections.append(connection)
        connections[0].send_nowait(message)

    async with server, client(server) as second:
        async with client(server) as first:
            await first.send("mine")
            assert await first.recv() == "mine"
        await until(lambda: connections[0].closed)
        await second.send("for another")
        assert await ending(second) == (1011, "internal error")
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]
