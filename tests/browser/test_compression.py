"""permessage-deflate with a real Chromium, which offers it to everybody: both ways, one publication for two pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Page

import streamconductor as sc

LONG = "grüße €𝄞 " * 500

# Opens a socket and collects what comes; `until` settles as soon as that many messages are there.
OPEN = """async (url) => {
  const socket = window.socket = new WebSocket(url), got = window.got = [];
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => got.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  return socket.extensions;
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[sc.Server]:
    server = sc.Server(
        sc.Config(port=0, compression=True, origins="*", max_connections=64, memory_budget="256MiB")
    )

    @server.route("/")
    async def room(connection: sc.Connection[Any]) -> None:
        connection.subscribe("room")
        async for message in connection:
            await connection.send(message)

    async with server:
        yield server


async def got(page: Page, count: int) -> list[Any]:
    await page.wait_for_function("(count) => got.length >= count", arg=count, timeout=10_000)
    messages: list[Any] = await page.evaluate("got")
    return messages


async def test_chromium(page: Page, server: sc.Server) -> None:
    other = await page.context.new_page()
    for one in (page, other):
        assert (await one.evaluate(OPEN, f"ws://127.0.0.1:{server.port}/")).startswith("permessage-deflate")
    texts = ["", "short", LONG, "x" * 100_000]
    await page.evaluate("(texts) => texts.forEach((text) => socket.send(text))", texts)
    await page.evaluate("socket.send(new Uint8Array(1000).fill(7))")
    assert await got(page, 5) == [*texts, [7] * 1000]
    before = server.status()["compression"]
    assert (before["connections"], before["inflated"]["messages"]) == (2, 5)
    assert before["inflated"]["deflated_bytes"] * 10 < before["inflated"]["plain_bytes"]
    assert before["compressed"]["messages"] == 3
    published = ["a " * 2_000, "b " * 20_000, LONG]
    for text in published:
        await server.publish("room", text)
    assert (await got(page, 8))[5:] == published
    assert await got(other, 3) == published
    compressed = server.status()["compression"]["compressed"]
    assert compressed["messages"] == before["compressed"]["messages"] + 3, "once for both pages"
