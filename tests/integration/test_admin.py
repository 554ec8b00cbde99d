"""The admin address as an operator uses it: over HTTP, while the loop runs and while it does not."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from websockets.asyncio.client import connect

import streamconductor as sc
from tests.support.raw import head

SCHEMA = json.loads((Path(sc.__file__).parent / "schema" / "status.schema.json").read_text(encoding="utf-8"))


def ask(server: sc.Server, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    url = f"http://127.0.0.1:{server.admin_port}{path}"
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def asked(server: sc.Server, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    return await asyncio.to_thread(ask, server, path, body, **headers)


def gateway(**settings: Any) -> sc.Server:
    server = sc.Server(sc.Config(port=0, admin_port=0, threads=2, max_connections=100, **settings))
    server.push("/channels/{name}")

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None]:
        return sc.Accept(subscribe=[request.path_params["name"]])

    return server


async def test_what_is_posted_reaches_subscribers_as_text_or_binary() -> None:
    async with gateway() as server, connect(f"ws://127.0.0.1:{server.port}/channels/news") as client:
        posted = await asked(server, "/channels/news", b"hello", **{"Content-Type": "text/plain"})
        assert posted == (202, b'{"subscribers":1}\n')
        assert await client.recv() == "hello"
        await asked(server, "/channels/news", b"\x00\xff", **{"Content-Type": "application/octet-stream"})
        assert await client.recv() == b"\x00\xff"
        assert (await asked(server, "/channels/other", b"x"))[1] == b'{"subscribers":0}\n'


async def test_the_status_fits_its_schema_whatever_happens() -> None:
    async with gateway() as server:
        async with connect(f"ws://127.0.0.1:{server.port}/channels/news"):
            server.publish_nowait("news", "x")
            over_http = json.loads((await asked(server, "/status"))[1])
            for status in (over_http, server.status()):
                jsonschema.validate(status, SCHEMA)
                assert status["pool"]["connections"]["used"] == 1
        # A peer that does not answer our Close holds the shutdown up to its grace.
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head("/channels/news"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        shutting_down = asyncio.create_task(server.shutdown(2))
        await asyncio.sleep(0)
        status = json.loads((await asked(server, "/status"))[1])
        jsonschema.validate(status, SCHEMA)
        assert status["level"]["name"] == "draining"
        assert (await asked(server, "/readyz"))[0] == 503
        writer.close()
        await writer.wait_closed()
        await shutting_down


async def test_settings_change_over_http_or_the_answer_says_why_not() -> None:
    async with gateway() as server:
        assert (await asked(server, "/reconfigure", b'{"ping_interval": "3s"}'))[0] == 202
        assert server.config.ping_interval == 3
        status, body = await asked(server, "/reconfigure", b'{"open_timeout": 60}')
        assert (status, server.config.open_timeout) == (400, 5)
        assert "open_timeout" in json.loads(body)["error"]
        status, body = await asked(server, "/reconfigure", b'{"port": 1}')
        assert status == 400
        assert "restart" in json.loads(body)["error"]


async def test_a_larger_max_buffered_lets_larger_publications_in() -> None:
    async with gateway(max_buffered="128KiB", max_message_size="64KiB") as server:
        payload = b"x" * 200_000
        assert (await asked(server, "/channels/news", payload))[0] == 413
        server.reconfigure(max_buffered="1MiB")
        assert (await asked(server, "/channels/news", payload))[0] == 202


async def test_a_blocked_loop_changes_no_answer() -> None:
    async with gateway(stall_limit=0.2) as server:
        answers: dict[str, tuple[int, bytes]] = {}
        slowest = 0.0
        unblock = threading.Event()

        def probe() -> None:
            nonlocal slowest
            deadline = time.monotonic() + 5
            while answers.get("/readyz", (0, b""))[0] != 503 and time.monotonic() < deadline:
                for path in ("/livez", "/readyz", "/metrics"):
                    began = time.monotonic()
                    answers[path] = ask(server, path)
                    slowest = max(slowest, time.monotonic() - began)
            unblock.set()

        prober = threading.Thread(target=probe)
        prober.start()
        # The loop's own thread waits here: nothing of Python's runs but the prober.
        assert unblock.wait(timeout=10)
        prober.join()
        assert answers["/livez"][0] == 200
        assert answers["/readyz"][0] == 503
        assert b"python stalled" in answers["/readyz"][1]
        assert answers["/metrics"][1].endswith(b"# EOF\n")
        assert slowest < 2


async def test_a_token_is_asked_for() -> None:
    async with gateway(admin_token="secret") as server:
        assert (await asked(server, "/channels/news", b"x"))[0] == 401
        allowed = await asked(server, "/channels/news", b"x", Authorization="Bearer secret")
        assert allowed[0] == 202


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_pages_may_not_ask(origin: str) -> None:
    async with gateway() as server:
        assert (await asked(server, "/channels/news", b"x", Origin=origin))[0] == 403
