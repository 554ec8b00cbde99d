"""/streamconductor.js in a real Chromium, against the `websockets` server and through a black hole."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio
from playwright.async_api import Page
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamconductor.testing import ChaosProxy

SCRIPT = Path(__file__).parents[2] / "python/streamconductor/static/streamconductor.js"
PING_INTERVAL = 0.5
HEARTBEAT = "heartbeat"

# `log` collects [event, detail, seconds since the page began]; `until` settles as soon as it holds enough.
PAGE = b"""<!doctype html><script type=module>
import { StreamConductorSocket } from "/streamconductor.js";
window.connect = (url, options) => {
  const log = window.log = [], note = (...entry) => log.push([...entry, performance.now() / 1000]);
  const socket = window.socket = new StreamConductorSocket(url, options);
  socket.addEventListener("open", () => note("open", null));
  socket.addEventListener("message", (event) => note("message", event.data));
  socket.addEventListener("lost", (event) => note("lost", event.detail));
  socket.addEventListener("reconnecting", (event) => note("reconnecting", event.detail));
  socket.addEventListener("error", () => note("error", null));
  socket.addEventListener("close", ({ code, reason, wasClean }) => note("close", { code, reason, wasClean }));
};
window.seen = (type) => window.log.filter((entry) => entry[0] === type);
window.ready = true;
</script>"""


class Peer:
    """A `websockets` server with heartbeats; it can be restarted on its port and knows its connections."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.received: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.heartbeats = True
        self.greet: Callable[[ServerConnection], Awaitable[object]] | None = None
        self._server: Server | None = None

    async def start(self) -> Self:
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            self.port,
            process_request=self._page,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            close_timeout=1,  # nobody answers a Close out of a black hole
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @staticmethod
    def _page(_: ServerConnection, request: Request) -> Response | None:
        files = {"/": ("text/html", PAGE), "/streamconductor.js": ("text/javascript", SCRIPT.read_bytes())}
        if request.path not in files:
            return None
        kind, body = files[request.path]
        headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
        return Response(HTTPStatus.OK, "OK", headers, body)

    async def _handle(self, connection: ServerConnection) -> None:
        self.connections.put_nowait(connection)
        beating = asyncio.create_task(self._beat(connection))
        try:
            if self.greet is not None:
                await self.greet(connection)
            async for message in connection:
                self.received.put_nowait(message)
        except ConnectionClosed:
            pass
        finally:
            beating.cancel()

    async def _beat(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                if self.heartbeats:
                    await connection.send(HEARTBEAT)
                await asyncio.sleep(PING_INTERVAL)


@pytest_asyncio.fixture(loop_scope="session")
async def peer() -> AsyncIterator[Peer]:
    peer = await Peer().start()
    yield peer
    await peer.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def blank(page: Page, peer: Peer) -> Page:
    """The page above, which has imported the socket."""
    await page.goto(f"http://127.0.0.1:{peer.port}/")
    await page.wait_for_function("window.ready")
    return page


async def connect(page: Page, port: int, **options: Any) -> None:
    options = {"heartbeatMessage": HEARTBEAT, "pingInterval": PING_INTERVAL} | options
    await page.evaluate("([url, options]) => connect(url, options)", [f"ws://127.0.0.1:{port}/ws", options])


async def seen(page: Page, kind: str, count: int = 1, limit: float = 10) -> list[Any]:
    """Waits until the page has noted `count` events of that kind; their details."""
    await page.wait_for_function(
        "([kind, count]) => seen(kind).length >= count", arg=[kind, count], timeout=limit * 1000
    )
    return [entry[1] for entry in await page.evaluate("(kind) => seen(kind)", kind)]


async def noted(page: Page, kind: str) -> int:
    return len(await page.evaluate("(kind) => seen(kind)", kind))


async def heartbeats(peer: Peer, connection: ServerConnection, count: int) -> None:
    """Returns when that many more heartbeats have gone out: the page's measure of time, not ours."""
    for _ in range(count):
        await asyncio.sleep(PING_INTERVAL)
        assert connection.close_code is None


async def test_it_behaves_as_the_browsers_own(blank: Page, peer: Peer) -> None:
    await connect(blank, peer.port, protocols=["two"], heartbeatMessage=None)
    await seen(blank, "open")
    connection = await peer.connections.get()
    facts = await blank.evaluate(
        """async () => {
          const [ours, native] = [socket, new WebSocket(socket.url)];
          const missing = Object.keys(WebSocket.prototype).filter((name) => !(name in ours));
          const constants = ["CONNECTING", "OPEN", "CLOSING", "CLOSED"].filter((name) =>
            ours.constructor[name] !== WebSocket[name] || ours[name] !== WebSocket[name]);
          ours.binaryType = "arraybuffer";
          const got = new Promise((resolve) => { ours.onmessage = (event) => resolve(event); });
          ours.send(new Uint8Array([1, 2, 3]).buffer);
          native.close();
          window.got = got.then(({ data, target, origin }) =>
            [data instanceof ArrayBuffer, target === ours, origin]);
          return [missing, constants, ours.protocol, ours.extensions, ours.readyState, ours.bufferedAmount];
        }"""
    )
    assert facts[:3] == [[], [], "two"]
    assert facts[4:] == [1, 3]
    assert await peer.received.get() == b"\x01\x02\x03"
    await connection.send(b"\x04")
    origin = f"ws://127.0.0.1:{peer.port}"
    assert await blank.evaluate("got") == [True, True, origin]


async def test_it_returns_after_a_server_restart_to_the_same_port(blank: Page, peer: Peer) -> None:
    await connect(blank, peer.port)
    await seen(blank, "open")
    await peer.stop()
    (lost, *_) = await seen(blank, "lost")
    assert lost["code"] == 1001
    assert await blank.evaluate("socket.readyState") == 0
    await peer.start()
    await seen(blank, "open", 2)
    assert await noted(blank, "close") == 0
    assert await noted(blank, "error") == 0


async def test_it_waits_for_a_server_that_is_not_there_yet(blank: Page, peer: Peer) -> None:
    await peer.stop()
    await connect(blank, peer.port)
    await seen(blank, "reconnecting", 3)
    await peer.start()
    await seen(blank, "open")


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 3000, 4000, 4403, 4999])
async def test_it_stays_away_after_a_code_that_says_so(blank: Page, peer: Peer, code: int) -> None:
    peer.greet = lambda connection: connection.close(code, "no")
    await connect(blank, peer.port)
    assert await seen(blank, "close") == [{"code": code, "reason": "no", "wasClean": True}]
    # `close` comes only when no attempt is planned; `online` would start a planned one at once.
    await blank.evaluate("dispatchEvent(new Event('online'))")
    assert [entry[0] for entry in await blank.evaluate("log")] == ["open", "close"]
    assert peer.connections.qsize() == 1
    assert await blank.evaluate("socket.readyState") == 3


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4008])
async def test_it_comes_back_after_a_code_that_says_so(blank: Page, peer: Peer, code: int) -> None:
    async def once(connection: ServerConnection) -> None:
        peer.greet = None
        await connection.close(code, "later")

    peer.greet = once
    await connect(blank, peer.port)
    await seen(blank, "open", 2)
    assert await seen(blank, "lost") == [{"code": code, "reason": "later", "wasClean": True}]


async def test_an_expired_token_is_refreshed_before_the_next_attempt(blank: Page, peer: Peer) -> None:
    async def expired(connection: ServerConnection) -> None:
        assert connection.request is not None
        if "token=2" not in connection.request.path:
            await connection.close(4401, "token expired")

    peer.greet = expired
    await blank.evaluate(
        """(url) => {
          window.calls = 0;
          const refresh = async () => {
            calls += 1;
            if (calls === 1) throw new Error("the token service is down");
            return { url: `${url}?token=${calls}`, protocols: ["two"] };
          };
          connect(url, { refresh, minDelay: 0.05, protocols: ["one"] });
        }""",
        f"ws://127.0.0.1:{peer.port}/ws",
    )
    await seen(blank, "open", 2)
    assert await blank.evaluate("[calls, socket.protocol]") == [2, "two"]
    assert await noted(blank, "close") == 0


async def test_an_expired_token_without_refresh_is_the_end(blank: Page, peer: Peer) -> None:
    peer.greet = lambda connection: connection.close(4401, "token expired")
    await connect(blank, peer.port)
    assert (await seen(blank, "close"))[0]["code"] == 4401


async def test_online_starts_the_next_attempt_at_once(blank: Page, peer: Peer) -> None:
    await peer.stop()
    await blank.evaluate("Math.random = () => 0.999")
    await connect(blank, peer.port, pingInterval=20, minDelay=10)
    delays = await seen(blank, "reconnecting")
    assert delays == [{"attempt": 1, "delay": pytest.approx(9.99)}]
    await peer.start()
    began = time.monotonic()
    await blank.evaluate("dispatchEvent(new Event('online'))")
    await seen(blank, "open")
    assert time.monotonic() - began < 2


async def test_heartbeats_are_swallowed_and_keep_a_quiet_link(blank: Page, peer: Peer) -> None:
    await connect(blank, peer.port)
    connection = await peer.connections.get()
    await heartbeats(peer, connection, 6)
    await connection.send("word")
    assert await seen(blank, "message") == ["word"]
    assert await noted(blank, "lost") == 0


async def test_without_heartbeat_message_silence_is_no_reason_and_nothing_is_swallowed(
    blank: Page, peer: Peer
) -> None:
    await connect(blank, peer.port, heartbeatMessage=None)
    assert (await seen(blank, "message", 2))[0] == HEARTBEAT
    peer.heartbeats = False
    await heartbeats(peer, await peer.connections.get(), 5)
    assert await noted(blank, "lost") == 0


@pytest.mark.parametrize("luck", [0.001, 0.999])
async def test_through_a_black_hole_it_dials_again_within_three_intervals(
    blank: Page, peer: Peer, luck: float
) -> None:
    async with ChaosProxy("127.0.0.1", peer.port) as proxy:
        await blank.evaluate("(luck) => { Math.random = () => luck; }", luck)
        await connect(blank, proxy.port)
        await heartbeats(peer, await peer.connections.get(), 2)
        for opened in range(2, 5):  # the third loss comes before the first counts as forgotten
            proxy.disturb(black_hole=True, scope="live")
            swallowed = time.monotonic()
            took = await asyncio.wait_for(proxy.arrival(swallowed), 10) - swallowed
            assert took <= 3 * PING_INTERVAL
            assert took >= 0.5 * PING_INTERVAL  # the last heartbeat is at most one interval older
            await seen(blank, "open", opened)
            await heartbeats(peer, await peer.connections.get(), 2)
        assert await noted(blank, "lost") == 3
        assert await noted(blank, "close") == 0


async def test_an_attempt_that_nobody_answers_is_given_up_after_five_seconds(blank: Page, peer: Peer) -> None:
    async with ChaosProxy("127.0.0.1", peer.port) as proxy:
        proxy.disturb(black_hole=True)
        await connect(blank, proxy.port)
        first = await proxy.arrival()
        proxy.restore()
        second = await asyncio.wait_for(proxy.arrival(first), 10)
        assert 4.5 < second - first < 5 + PING_INTERVAL / 2 + 0.5
        await seen(blank, "open")


async def test_a_page_that_was_blocked_keeps_its_good_link(blank: Page, peer: Peer) -> None:
    await connect(blank, peer.port)
    await seen(blank, "open")
    blocked = 4 * PING_INTERVAL
    for _ in range(3):
        await blank.evaluate(
            "(limit) => { const end = performance.now() + limit; while (performance.now() < end); }",
            blocked * 1000,
        )
    await heartbeats(peer, await peer.connections.get(), 3)
    assert await noted(blank, "lost") == 0


async def test_a_message_that_waits_behind_the_timer_counts(blank: Page, peer: Peer) -> None:
    # What other browsers do after a freeze: the timer runs first, and only then the messages.
    await blank.evaluate(
        """(heartbeat) => {
          const native = setTimeout;
          window.WebSocket = class extends WebSocket {
            constructor(...it) { super(...it); window.link = this; }
          };
          window.setTimeout = (call, delay) => native(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => link.onmessage({ data: heartbeat, origin: "" });
            if (link.readyState === 1) port2.postMessage(null);
            call();
          }, delay);
        }""",
        HEARTBEAT,
    )
    peer.heartbeats = False
    await connect(blank, peer.port)
    await heartbeats(peer, await peer.connections.get(), 7)
    assert await noted(blank, "lost") == 0


async def test_a_page_that_was_frozen_keeps_its_good_link(blank: Page, peer: Peer) -> None:
    await connect(blank, peer.port)
    await seen(blank, "open")
    connection = await peer.connections.get()
    control = await blank.context.new_cdp_session(blank)
    for _ in range(2):
        await control.send("Page.setWebLifecycleState", {"state": "frozen"})
        await heartbeats(peer, connection, 4)
        await control.send("Page.setWebLifecycleState", {"state": "active"})
        await heartbeats(peer, connection, 1)
    assert await noted(blank, "lost") == 0


async def test_a_page_that_becomes_visible_looks_at_once(blank: Page, peer: Peer) -> None:
    # Timers that never fire stand for those of a hidden page, which the browser holds back for a minute.
    await blank.evaluate(
        "(native) => { native = setTimeout; window.setTimeout = (...it) => it[1] > 400 ? 0 : native(...it); }"
    )
    await connect(blank, peer.port)
    await seen(blank, "open")
    peer.heartbeats = False
    await heartbeats(peer, await peer.connections.get(), 3)
    assert await noted(blank, "lost") == 0
    await blank.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    (lost, *_) = await seen(blank, "lost", limit=2)
    assert lost["code"] == 1006
    assert "no message for" in lost["reason"]


async def test_delays_are_full_jitter_doubling_up_to_the_longest(blank: Page, peer: Peer) -> None:
    await peer.stop()
    await blank.evaluate("Math.random = () => 0.5")
    await connect(blank, peer.port, pingInterval=20, minDelay=0.02, maxDelay=0.1)
    details = await seen(blank, "reconnecting", 6)
    delays = [detail["delay"] for detail in details[:6]]
    assert delays == pytest.approx([0.01, 0.02, 0.04, 0.05, 0.05, 0.05])
    assert [detail["attempt"] for detail in details[:6]] == [1, 2, 3, 4, 5, 6]
    await blank.evaluate("socket.close()")


async def test_jitter_fills_its_window_and_never_leaves_it(blank: Page, peer: Peer) -> None:
    peer.greet = lambda connection: connection.close(1001)
    await blank.evaluate(
        """async (url) => {
          window.delays = [];
          for (let count = 0; count < 40; count += 1) await new Promise((resolve) => {
            connect(url, { pingInterval: 0.2 });
            socket.onreconnecting = ({ detail }) => { delays.push(detail.delay); socket.close(); };
            socket.onclose = resolve;
          });
        }""",
        f"ws://127.0.0.1:{peer.port}/ws",
    )
    delays = await blank.evaluate("delays")
    assert len(delays) == 40
    assert all(0 <= delay <= 0.1 for delay in delays)  # half of the interval
    assert max(delays) - min(delays) > 0.05  # fails by chance once in 10 ** 10


async def test_back_off_codes_start_with_a_wider_window(blank: Page, peer: Peer) -> None:
    await blank.evaluate("Math.random = () => 0.5")
    peer.greet = lambda connection: connection.close(1013, "full")
    await connect(blank, peer.port, pingInterval=20, minDelay=0.05, maxDelay=1)
    details = await seen(blank, "reconnecting", 3)
    assert [detail["delay"] for detail in details[:3]] == pytest.approx([0.1, 0.2, 0.4])


async def test_what_is_sent_between_two_links_is_queued_up_to_the_limit_or_refused(
    blank: Page, peer: Peer
) -> None:
    await peer.stop()
    url = f"ws://127.0.0.1:{peer.port}/ws"
    refused = await blank.evaluate(
        """(url) => {
          connect(url, {});
          const first = (() => { try { socket.send("a"); } catch (error) { return error.name; } })();
          socket.close();
          connect(url, { maxQueue: 6, minDelay: 0.05 });
          const buffer = new Uint8Array([1, 2]);
          socket.send("ü"); socket.send(buffer); socket.send("ab");
          buffer.fill(9);
          const second = (() => { try { socket.send("c"); } catch (error) { return error.name; } })();
          return [first, second, socket.bufferedAmount];
        }""",
        url,
    )
    assert refused == ["InvalidStateError", "InvalidStateError", 6]
    await peer.start()
    await seen(blank, "open")
    assert [await peer.received.get() for _ in range(3)] == ["ü", b"\x01\x02", "ab"]
    assert await blank.evaluate("socket.bufferedAmount") == 0


async def test_closing_ends_it_in_every_state(blank: Page, peer: Peer) -> None:
    await connect(blank, peer.port)
    await seen(blank, "open")
    connection = await peer.connections.get()
    refused = await blank.evaluate(
        "[[1001, ''], [1000, 'x'.repeat(124)]].map(([code, reason]) =>"
        " { try { socket.close(code, reason); } catch (error) { return error.name; } })"
    )
    assert refused == ["InvalidAccessError", "SyntaxError"]
    await blank.evaluate("socket.close(4001, 'enough')")
    assert await seen(blank, "close") == [{"code": 4001, "reason": "enough", "wasClean": True}]
    await connection.wait_closed()
    assert (connection.close_code, connection.close_reason) == (4001, "enough")

    await peer.stop()  # between two attempts
    await connect(blank, peer.port, minDelay=0.25)
    await seen(blank, "reconnecting")
    assert await blank.evaluate("[socket.close(), socket.readyState, seen('close').length]") == [None, 2, 0]
    assert (await seen(blank, "close"))[0]["code"] == 1006
    await peer.start()
    await blank.evaluate("dispatchEvent(new Event('online'))")
    assert peer.connections.empty()

    async with ChaosProxy("127.0.0.1", peer.port) as proxy:  # during an attempt
        proxy.disturb(black_hole=True)
        await connect(blank, proxy.port)
        await proxy.arrival()
        await blank.evaluate("socket.close()")
        assert (await seen(blank, "close"))[0]["code"] == 1006
        assert await noted(blank, "reconnecting") == 0
