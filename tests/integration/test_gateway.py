"""`streamconductor serve` without a program: subscribe by path, publish over HTTP."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.programs import Program, ended


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Where one is reached: its address, and its admin address."""
    options = ("--port", "0", "--admin-port", "0")
    with Program(
        "-m", "streamconductor", "serve", *options, cwd=tmp_path_factory.mktemp("gateway")
    ) as running:
        yield running.line(r"listening +(\S+)")[1], running.line(r"admin +(\S+)")[1]
        running.send(signal.SIGTERM)
        assert running.wait() == 0


Gateway = tuple[str, str]


def subscribe(gateway: Gateway, name: str) -> ClientConnection:
    return connect(f"{gateway[0]}/channels/{name}")


def publish(gateway: Gateway, name: str, text: str) -> int:
    response = httpx.post(
        f"{gateway[1]}/channels/{name}", content=text, headers={"Content-Type": "text/plain"}
    )
    assert response.status_code == 202
    subscribers: int = response.json()["subscribers"]
    return subscribers


def test_who_subscribes_gets_what_is_published(gateway: Gateway) -> None:
    with (
        subscribe(gateway, "news") as one,
        subscribe(gateway, "news") as two,
        subscribe(gateway, "other") as other,
    ):
        assert publish(gateway, "news", "first") == 2
        assert publish(gateway, "other", "elsewhere") == 1
        assert publish(gateway, "news", "second") == 2
        assert [one.recv(5), one.recv(5)] == [two.recv(5), two.recv(5)] == ["first", "second"]
        assert other.recv(5) == "elsewhere"


def test_names_are_percent_decoded_on_both_sides(gateway: Gateway) -> None:
    with subscribe(gateway, "r%C3%A4ume%2Feins") as client:
        assert publish(gateway, "r%c3%a4ume%2feins", "hallo") == 1
        assert client.recv(5) == "hallo"


@pytest.mark.parametrize("name", ["a%0Ab", "a" * 256, "%7F"])
def test_a_name_that_no_channel_has_is_refused(gateway: Gateway, name: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        subscribe(gateway, name)
    assert caught.value.response.status_code == 400


@pytest.mark.parametrize("path", ["/", "/channels", "/channels/", "/channels/a/b"])
def test_there_is_no_other_path(gateway: Gateway, path: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(gateway[0] + path)
    assert caught.value.response.status_code == 404


def test_it_takes_no_messages(gateway: Gateway) -> None:
    with subscribe(gateway, "news") as client:
        client.send("from me")
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(5)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1003


def test_publishing_is_not_on_the_main_port(gateway: Gateway) -> None:
    address = gateway[0].replace("ws://", "http://")
    assert httpx.post(f"{address}/channels/news", content="no").status_code in (404, 405)


def test_the_admin_port_may_not_be_the_main_one(tmp_path: Path) -> None:
    code, [line] = ended("-m", "streamconductor", "serve", "--port", "8001", cwd=tmp_path)
    assert code == 2
    assert "admin_port = 8001 is the main port" in line
