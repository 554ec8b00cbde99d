"""The demo over https and wss in a real Chromium, with a certificate made on the spot."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from playwright.async_api import Browser

from tests.support.programs import Program

ROOT = Path(__file__).parents[2]


async def test_a_page_over_https_is_live_over_wss(browser: Browser) -> None:
    with Program("-m", "examples.demo", "--port", "0", "--tls", "--slow", "3", cwd=ROOT) as demo:
        address = (await asyncio.to_thread(demo.line, r"https://127\.0\.0\.1:\d+/"))[0]
        # The certificate is signed by itself, which a person would have to accept.
        context = await browser.new_context(ignore_https_errors=True)
        try:
            page = await context.new_page()
            sockets: list[str] = []
            page.on("websocket", lambda socket: sockets.append(socket.url))
            await page.goto(address)
            await page.wait_for_selector('#state[data-state="open"][data-links="1"]', timeout=15_000)
            assert await page.evaluate("window.isSecureContext")
            assert sockets == [re.sub("^https", "wss", address) + "stream"]
            # The readers that stall are connected over TLS, too.
            stalled = "() => document.querySelector('#stalled').textContent.startsWith('3 of 3')"
            await page.wait_for_function(stalled, timeout=15_000)
        finally:
            await context.close()
