"""The FastAPI example under a real uvicorn: streams, endpoints and login together."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.programs import Program

ROOT = Path(__file__).parents[2]
UVICORN = ("-m", "uvicorn", "examples.fastapi_app:app", "--port", "0")
ADA = {"Authorization": "Bearer token-of-ada"}


class Site:
    """The example, running."""

    def __init__(self, program: Program, pages: httpx.Client) -> None:
        self.program, self.pages = program, pages
        self.port: int = pages.get("/settings", headers=ADA).json()["port"]

    def stream(self, **headers: str) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/stream", additional_headers=headers)


@pytest.fixture
def site() -> Iterator[Site]:
    with Program(*UVICORN, cwd=ROOT, environment={"STREAMCONDUCTOR_PORT": "0"}) as program:
        pages = httpx.Client(base_url=program.line(r"running on (http://\S+)")[1])
        with pages:
            yield Site(program, pages)


def test_endpoints_publish(site: Site) -> None:
    with site.stream(**ADA) as ada, site.stream(Authorization="Bearer token-of-grace") as grace:
        # From the loop, to everybody.
        published = site.pages.post("/news", json={"text": "hello"}, headers=ADA)
        assert published.json() == {"subscribers": 2}
        for stream in (ada, grace):
            assert json.loads(stream.recv(5)) == {"from": "ada", "text": "hello"}
        # From a thread, to one user.
        published = site.pages.post("/users/grace/messages", json={"text": "psst"}, headers=ADA)
        assert published.json() == {"subscribers": 1}
        assert json.loads(grace.recv(5)) == {"from": "ada", "text": "psst"}


def test_one_login_holds_for_both(site: Site) -> None:
    assert site.pages.post("/news", json={"text": "x"}).status_code == 401
    with pytest.raises(InvalidStatus) as caught:
        site.stream(Cookie="token=forged")
    assert caught.value.response.status_code == 401
    assert site.pages.post("/login/token-of-grace").status_code == 200
    assert site.pages.get("/settings").json()["user"] == "grace"
    # What the browser would send along.
    with site.stream(Cookie=f"token={site.pages.cookies['token']}") as grace:
        assert site.pages.post("/users/grace/messages", json={"text": "me"}).json() == {"subscribers": 1}
        assert json.loads(grace.recv(5))["from"] == "grace"


def test_streams_end_with_the_application(site: Site) -> None:
    with site.stream(**ADA) as stream:
        site.program.send(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            stream.recv(5)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1012
    site.pages.close()
    # uvicorn ends by the signal that it was sent, once all has ended.
    assert site.program.wait() in (0, -signal.SIGTERM)


def test_a_second_process_on_the_port_is_told_what_to_do(site: Site) -> None:
    with Program(*UVICORN, cwd=ROOT, environment={"STREAMCONDUCTOR_PORT": str(site.port)}) as second:
        assert second.wait() != 0
        second.line(rf"cannot listen on 127\.0\.0\.1:{site.port}.*one `streamconductor serve module:server`")


def test_the_server_alone_is_published_to_over_http() -> None:
    """What the example says about several workers."""
    words = (
        "-m",
        "streamconductor",
        "serve",
        "examples.fastapi_app:server",
        "--port",
        "0",
        "--admin-port",
        "0",
    )
    with Program(*words, cwd=ROOT) as alone:
        address, admin = alone.line(r"listening +(\S+)")[1], alone.line(r"admin +(\S+)")[1]
        with connect(f"{address}/stream", additional_headers=ADA) as stream:
            published = httpx.post(f"{admin}/channels/news", json={"text": "from a worker"})
            assert published.json() == {"subscribers": 1}
            assert json.loads(stream.recv(5)) == {"text": "from a worker"}
