"""The demo in a real Chromium: what its page shows is what was published, and it comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page
from websockets.asyncio.client import connect

from examples.demo.app import HEARTBEAT, Demo
from streamconductor.testing import ChaosProxy

PING_INTERVAL = 0.5
ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def running(
    *, port: int = 0, files: Sequence[Path] = (), ping_interval: float = PING_INTERVAL
) -> AsyncIterator[Demo]:
    demo = Demo("127.0.0.1", port, files, ping_interval)
    async with demo.server:
        streaming = asyncio.create_task(demo.run(0))
        try:
            yield demo
        finally:
            streaming.cancel()
            await asyncio.gather(streaming, return_exceptions=True)


async def visit(page: Page, port: int) -> None:
    await page.goto(f"http://127.0.0.1:{port}/")
    await links(page, 1)


async def links(page: Page, count: int) -> None:
    """Waits until the page is connected for the `count`th time."""
    await page.wait_for_selector(f'#state[data-state="open"][data-links="{count}"]', timeout=10_000)


async def text_of(page: Page, selector: str) -> str:
    return (await page.text_content(selector) or "").replace("\u00a0", " ").strip()


async def until(page: Page, selector: str, holds: Callable[[str], bool], limit: float = 20) -> str:
    """Waits until the text of an element satisfies `holds`; the text."""
    async with asyncio.timeout(limit):
        while not holds(text := await text_of(page, selector)):
            await page.evaluate("new Promise(requestAnimationFrame)")
    return text


def fixed(value: float, digits: int) -> str:
    """As the page's `toFixed`: of two equally near it takes the greater, where Python's `format` takes the even one."""
    return str(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def as_bytes(value: float) -> str:
    step = 0
    while value >= 1024:
        value, step = value / 1024, step + 1
    return f"{fixed(value, 0 if step == 0 or value >= 100 else 1)} {['B', 'KiB', 'MiB', 'GiB', 'TiB'][step]}"


async def test_what_the_page_shows_is_what_was_published(page: Page) -> None:
    published: dict[tuple[str, float], dict[str, Any]] = {}

    async def listen(port: int) -> None:
        async with connect(f"ws://127.0.0.1:{port}/stream", proxy=None) as listener:
            async for message in listener:
                if message != HEARTBEAT:
                    it = json.loads(message)
                    published[it["channel"], it["at"]] = it["reading"]

    expected: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, str]]]] = {
        "cpu": ("host:cpu", lambda it: {"all cores": f"{fixed(it['total'], 1)} %"}),
        "memory": (
            "host:memory",
            lambda it: {"used": as_bytes(it["used"]), "cached": as_bytes(it["cached"])},
        ),
        "load": ("host:load", lambda it: {"1 min": fixed(it["one"], 2), "15 min": fixed(it["fifteen"], 2)}),
        "net": ("host:net", lambda it: {"loopback": as_bytes(it["local"]) + "/s"}),
        "water": ("demo:server", lambda it: {"buffered": as_bytes(it["most_buffered"])}),
        "resident": ("demo:server", lambda it: {"resident": as_bytes(it["resident"])}),
    }
    compared = dict.fromkeys(expected, 0)
    async with running() as demo:
        listening = asyncio.create_task(listen(demo.server.port))
        await visit(page, demo.server.port)
        async with asyncio.timeout(20):
            while min(compared.values()) < 5:
                shown = await page.evaluate(
                    """(cards) => cards.map((id) => {
                      const card = document.getElementById(id);
                      const values = [...card.querySelectorAll("[data-series]")];
                      const texts = values.map((value) => [value.dataset.series, value.textContent]);
                      return [id, Number(card.dataset.at), texts];
                    })""",
                    list(expected),
                )
                for card, at, values in shown:
                    channel, of = expected[card]
                    if (reading := published.get((channel, at))) is not None:
                        texts = {name: text.replace("\u00a0", " ") for name, text in values}
                        assert of(reading).items() <= texts.items()
                        compared[card] += 1
                await page.evaluate("new Promise(requestAnimationFrame)")
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_round_trip_latency_and_rate_are_measured(page: Page) -> None:
    async with running() as demo:
        await visit(page, demo.server.port)
        for figure in ("#round-trip", "#latency", "#p50", "#p99"):
            text = await until(page, figure, lambda text: text.endswith("ms"))
            assert 0 <= float(text.removesuffix("ms")) < 1000, figure
        # Four channels ten times a second, one twice.
        await until(page, "#messages", lambda text: text.isdigit() and int(text) >= 30)
        assert await text_of(page, "#dropped") == "0"


async def test_new_lines_of_a_file_appear_as_text(page: Page, tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_text("before\n")
    async with running(files=[log]) as demo:
        await visit(page, demo.server.port)
        await until(page, "#files li:last-child", "before".__eq__)
        with log.open("a") as file:
            file.write("<b>5 & 6</b>\n")
        await until(page, "#files li:last-child", "<b>5 & 6</b>".__eq__)
        log.rename(log.with_suffix(".1"))
        log.write_text("rotated\n")
        await until(page, "#files li:last-child", "rotated".__eq__)
        assert await page.locator("#files li").all_text_contents() == ["before", "<b>5 & 6</b>", "rotated"]


async def test_the_switch_has_readers_stall_and_the_healthy_do_not_feel_it(page: Page) -> None:
    async with running(ping_interval=10) as demo:
        await visit(page, demo.server.port)
        await until(page, "#messages", lambda text: text.isdigit() and int(text) >= 30)
        resident = demo.standing()["resident"]
        await page.fill("#readers", "30")
        await page.click("#stall")
        await until(page, "#stalled", "30 of 30 stalled".__eq__)
        assert len(demo.server.connections()) == 31
        # The kernel takes some 20 KiB each; what follows waits in the server, and there is an end to it.
        fullest = "#water [data-series]"
        await until(page, fullest, lambda text: text.endswith("KiB") and float(text.split()[0]) > 6)
        standing = demo.standing()
        assert 0 < standing["most_buffered"] <= standing["high_water"]
        assert standing["resident"] - resident < 32 << 20
        assert await text_of(page, "#dropped") == "0"
        assert int(await text_of(page, "#messages")) >= 30
        await page.click("#stall")
        await until(page, "#stalled", "none".__eq__)
        await until(page, "#connections", "1".__eq__)
        assert await page.get_attribute("#stall", "aria-checked") == "false"


async def test_the_page_comes_back_after_a_restart_on_the_same_port(page: Page) -> None:
    async with running() as demo:
        port = demo.server.port
        await visit(page, port)
    await page.wait_for_selector('#state[data-state="reconnecting"]')
    async with running(port=port):
        await links(page, 2)
        at = await page.get_attribute("#cpu", "data-at")
        await page.wait_for_function("(at) => document.getElementById('cpu').dataset.at > at", arg=at)


async def test_the_page_comes_back_out_of_a_black_hole_within_three_intervals(page: Page) -> None:
    async with running() as demo, ChaosProxy("127.0.0.1", demo.server.port) as proxy:
        await visit(page, proxy.port)
        for count in (2, 3):
            await until(page, "#messages", lambda text: text.isdigit() and int(text) > 0)
            proxy.disturb(black_hole=True, scope="live")
            swallowed = time.monotonic()
            took = await asyncio.wait_for(proxy.arrival(swallowed), 10) - swallowed
            assert took <= 3 * PING_INTERVAL
            await links(page, count)


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts by a signal")
async def test_the_command_line_prints_the_address_and_ends_when_interrupted(tmp_path: Path) -> None:
    command = ["-m", "examples.demo", "--port", "0", "--slow", "5", "--file", str(tmp_path / "later.log")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        assert address.startswith("http://127.0.0.1:")
        async with connect(f"{address.replace('http', 'ws')}stream", proxy=None) as listener:
            async with asyncio.timeout(20):
                async for message in listener:
                    if '"demo:server"' in str(message) and json.loads(message)["reading"]["stalled"] == 5:
                        break
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 15) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
