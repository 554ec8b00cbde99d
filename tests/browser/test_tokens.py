"""/streamconductor.js in a real Chromium, against a server that asks for tokens: what a page does when they expire."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Page

import streamconductor as sc
from tests.support import tokens
from tests.support.live import server_with, until

# `fresh` is what the page's backend gives out for tokens: the test's to set, and to count.
PAGE = b"""<!doctype html><script type=module>
import { StreamConductorSocket } from "/streamconductor.js";
window.connect = (token, withRefresh = true) => {
  window.log = [];
  window.refreshes = 0;
  const refresh = async () => {
    window.refreshes += 1;
    if (window.fresh === null) throw new Error("the token service is down");
    return { protocols: ["chat", `bearer.${window.fresh}`] };
  };
  const options = { protocols: ["chat", `bearer.${token}`], minDelay: 0.05, maxDelay: 0.2 };
  const socket = new StreamConductorSocket("/ws", withRefresh ? { ...options, refresh } : options);
  for (const type of ["open", "lost", "close", "message"])
    socket.addEventListener(type, (event) => log.push([type, event.detail?.code ?? event.code ?? event.data ?? null]));
};
window.ready = true;
</script>"""


@contextlib.asynccontextmanager
async def serving(page: Page, folder: Path) -> AsyncIterator[tuple[sc.Server, tokens.Signer]]:
    """A server that asks for tokens, and the page above, which it serves."""
    signer = tokens.es256()
    file = signer.write(folder, "key")
    server = server_with(token_keys=[file], subprotocols=["chat"])
    server.asset("/", PAGE, "text/html")

    @server.route("/ws")
    async def greet(connection: sc.Connection[None]) -> None:
        await connection.send(connection.user or "nobody")
        async for _ in connection:
            pass

    async with server:
        await page.goto(f"http://127.0.0.1:{server.port}/")
        await page.wait_for_function("window.ready")
        yield server, signer


async def logged(page: Page, kind: str, count: int = 1) -> list[Any]:
    """Waits until the page has noted `count` events of that kind; what came with them."""
    await page.wait_for_function(
        "([kind, count]) => log.filter(([one]) => one === kind).length >= count",
        arg=[kind, count],
        timeout=10_000,
    )
    found: list[Any] = await page.evaluate("(kind) => log.filter(([one]) => one === kind)", kind)
    return [what for _, what in found]


async def test_a_page_comes_back_with_a_fresh_token_only(page: Page, tmp_path: Path) -> None:
    async with serving(page, tmp_path) as (server, signer):
        await page.evaluate("window.fresh = null")
        await page.evaluate("(token) => connect(token)", signer.token())
        assert await logged(page, "message") == ["ada"]
        server.connections()[0].extend(time.time())
        assert await logged(page, "lost") == [4401]
        # However often it asks, without a fresh token it does not come back.
        await page.wait_for_function("refreshes >= 3", timeout=10_000)
        assert server.status()["handshakes"]["token"] == 0
        assert await logged(page, "open") == [None]
        await page.evaluate("(token) => { window.fresh = token; }", signer.token(sub="grace"))
        assert await logged(page, "message", 2) == ["ada", "grace"]


async def test_a_page_whose_token_expired_while_it_was_away_asks_for_another(
    page: Page, tmp_path: Path
) -> None:
    async with serving(page, tmp_path) as (server, signer):
        await page.evaluate("(token) => { window.fresh = token; }", signer.token(sub="grace"))
        # Its first attempt is refused with 401, which browsers report as 1006.
        await page.evaluate("(token) => connect(token)", signer.token(exp=int(time.time()) - 1))
        assert await logged(page, "message") == ["grace"]
        assert await logged(page, "lost") == [1006]
        assert await page.evaluate("refreshes") == 1
        assert server.status()["handshakes"]["token"] == 1


async def test_a_page_tries_the_old_token_where_no_fresh_one_is_to_be_had(page: Page, tmp_path: Path) -> None:
    async with serving(page, tmp_path) as (server, signer):
        await page.evaluate("window.fresh = null")
        token = signer.token(exp=int(time.time()) - 1)
        await page.evaluate("(token) => connect(token)", token)
        await until(lambda: server.status()["handshakes"]["token"] >= 3, 10)
        assert await page.evaluate("refreshes") >= 1


async def test_a_page_without_refresh_stays_away_after_4401(page: Page, tmp_path: Path) -> None:
    async with serving(page, tmp_path) as (server, signer):
        await page.evaluate("(token) => connect(token, false)", signer.token())
        await logged(page, "message")
        server.connections()[0].extend(time.time())
        assert await logged(page, "close") == [4401]
