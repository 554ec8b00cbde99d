"""What the main port serves besides WebSocket, and where it listens."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.raw import Peer, Response, head
from tests.support.servers import Site

HOST = [("Host", "localhost")]


def plain(site: Site, path: str, method: str = "GET") -> Response:
    with site.connect() as peer:
        peer.send(head(path, HOST, method=method))
        return peer.response(head_only=method == "HEAD")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/livez", "application/json"),
        ("/readyz", "application/json"),
        ("/streamconductor.js", "text/javascript; charset=utf-8"),
    ],
)
def test_get_and_head(site: Site, path: str, content_type: str) -> None:
    whole, only_head = plain(site, path), plain(site, path, "HEAD")
    assert whole.line == only_head.line == "HTTP/1.1 200 OK"
    assert whole.one("Content-Type") == only_head.one("Content-Type") == content_type
    assert whole.one("Cache-Control") == "no-cache"
    # HEAD says how long the body would be, and has none: `response` saw the end behind the head.
    assert len(whole.body) == int(whole.one("Content-Length") or 0)
    assert [name for name, _ in whole.headers] == [name for name, _ in only_head.headers]
    assert only_head.body == b""


def test_probes_say_how_it_is(site: Site) -> None:
    assert json.loads(plain(site, "/livez").body) == {"status": "alive"}
    assert json.loads(plain(site, "/readyz").body)["ready"] is True


def test_the_script_is_the_file(site: Site) -> None:
    script = Path(sc.__file__).parent / "static" / "streamconductor.js"
    assert plain(site, "/streamconductor.js").body == script.read_bytes()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/streamconductor.js"])
def test_another_method_is_405(site: Site, path: str) -> None:
    answer = plain(site, path, "POST")
    assert answer.line == "HTTP/1.1 405 Method Not Allowed"
    assert answer.one("Allow") == "GET, HEAD"


def test_head_of_a_websocket_path_has_no_body(site: Site) -> None:
    """RFC 9110 §9.3.2: no answer to HEAD has one, whatever its status."""
    for path, status in (("/echo", 405), ("/nowhere", 404)):
        assert plain(site, path, "HEAD").status == status


def test_a_query_does_not_hide_a_probe(site: Site) -> None:
    assert plain(site, "/livez?verbose").status == 200


def test_probes_answer_with_a_full_pool_and_no_place_left(serve: Serve) -> None:
    site = serve(max_connections=1, max_pending=2)
    for _ in range(20):
        # Those that are turned away at once may find out while they connect.
        with contextlib.suppress(ConnectionResetError):
            site.connect()
    assert plain(site, "/livez").status == 200
    assert plain(site, "/readyz").status == 200


# Where it listens.


def port_of(site: Site) -> int:
    return site.call(lambda: site.server.port)


def test_port_0_is_chosen_by_the_system(serve: Serve) -> None:
    ports = [port_of(serve()) for _ in range(2)]
    assert len(set(ports)) == 2
    assert 0 not in ports


def test_a_taken_port_is_a_bind_error(serve: Serve) -> None:
    port = port_of(serve())
    with pytest.raises(sc.BindError, match=str(port)):
        serve(port=port)


def test_ipv6(serve: Serve) -> None:
    site = serve(host="::1")
    with site.connect() as peer:
        peer.upgrade()
        peer.echo()
        [connection] = site.call(lambda: site.server.connections(path="/echo"))
        assert connection.remote_address == peer.socket.getsockname()[:2]
    assert plain(site, "/livez").status == 200


def test_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "conductor.sock"
    site = serve(unix_socket=path)
    with site.connect() as peer:
        peer.upgrade()
        peer.echo()
        [connection] = site.call(lambda: site.server.connections(path="/echo"))
        assert connection.remote_address is None
        assert site.call(lambda: site.server.port) == 0
    assert plain(site, "/livez").status == 200


def test_a_unix_socket_goes_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "conductor.sock"
    for _ in range(2):
        site = Site(unix_socket=path)
        site.start()
        with Peer(path) as peer:
            peer.upgrade()
            peer.echo()
        site.stop()
        assert not path.exists()
