"""TLS as other people's clients have it: every version that is offered, every one that is not, and what `openssl` says
of resumption, renegotiation and the certificate that it is shown.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamconductor as sc
from tests.protocol.conftest import Serve
from tests.support.frames import TEXT, Frame, frame
from tests.support.raw import PATIENCE, Peer, head
from tests.support.servers import Site, eventually
from tests.support.transport import authority

ALERT = 21
DECODE_ERROR = 50


@pytest.fixture
def site(serve: Serve) -> Site:
    return serve(**authority().server_fields())


Client = Callable[..., str]


@pytest.fixture
def openssl(site: Site) -> Client:
    """Runs `openssl s_client`, says `words`, and returns what it prints; it ends when the server does."""
    program = shutil.which("openssl")
    if program is None:
        pytest.fail("no openssl: `make test-python` needs it")
    _, port = site.address

    def run(*options: str, words: str = "") -> str:
        command = [program, "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(authority().file)]
        done = subprocess.run(
            [*command, "-servername", "localhost", *options],
            input=words,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.stdout + done.stderr

    return run


def handshakes(site: Site) -> dict[str, int]:
    """How many TLS handshakes came to what."""
    status: dict[str, Any] = site.call(site.server.status)
    tls = status["tls"]
    return tls["established"] | {"resumed": tls["resumed"], "failed": status["handshakes"]["tls"]}


PROBE = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
OLD = ("-cipher", "DEFAULT@SECLEVEL=0")


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_openssl_speaks_what_is_offered(site: Site, openssl: Client, option: str, version: str) -> None:
    said = openssl(option, "-ign_eof", "-alpn", "h2,http/1.1", words=PROBE)
    assert f"Protocol  : {version}" in said or f"New, {version}" in said, said
    assert "Verify return code: 0 (ok)" in said
    assert "ALPN protocol: http/1.1" in said
    assert "HTTP/1.1 200 OK" in said
    assert '{"status":"alive"}' in said
    # It ended with a close_notify, and not just so.
    assert "unexpected eof" not in said
    assert handshakes(site)[version] >= 1


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_openssl_is_refused_what_is_not(site: Site, openssl: Client, option: str) -> None:
    said = openssl(option, *OLD)
    # 40 where the hello has nothing that 1.2 needs, as that of OpenSSL has not; else 70.
    assert "SSL alert number 40" in said or "SSL alert number 70" in said, said
    assert "Cipher is (NONE)" in said
    assert handshakes(site)["failed"] == 1


def test_a_client_of_http_2_only_is_refused_by_name(site: Site, openssl: Client) -> None:
    assert "no application protocol" in openssl("-alpn", "h2")
    assert handshakes(site)["failed"] == 1


def test_renegotiation_is_refused_and_nothing_else_happens(site: Site, openssl: Client) -> None:
    # A line with R alone asks for it.
    said = openssl("-tls1_2", "-legacy_renegotiation", words="R\n" + PROBE)
    assert "RENEGOTIATING" in said, said
    assert "no renegotiation" in said or "HTTP/1.1 200 OK" in said, said
    assert handshakes(site)["TLSv1.2"] == 1


def test_a_connection_is_taken_up_again_with_tls_1_2(site: Site, openssl: Client) -> None:
    said = openssl("-tls1_2", "-reconnect", words="Q\n")
    assert said.count("Reused, TLSv1.2") == 5, said
    assert handshakes(site)["resumed"] == 5


def test_a_connection_is_taken_up_again_with_tls_1_3(site: Site, openssl: Client, tmp_path: Path) -> None:
    session = str(tmp_path / "session")
    assert "New, TLSv1.3" in openssl("-tls1_3", "-ign_eof", "-sess_out", session, words=PROBE)
    said = openssl("-tls1_3", "-ign_eof", "-sess_in", session, words=PROBE)
    assert "Reused, TLSv1.3" in said, said
    assert "HTTP/1.1 200 OK" in said
    assert handshakes(site)["resumed"] == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_and_frames_byte_by_byte(site: Site, version: ssl.TLSVersion) -> None:
    """Every byte in a packet of its own, both in the handshake and behind it."""
    context = authority().client_context()
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    peer = site.connect(tls=None)

    def send() -> None:
        for byte in outgoing.read():
            peer.socket.send(bytes([byte]))

    def until_done(act: Callable[[], Any]) -> Any:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                send()
                data = peer.socket.recv(65_536)
                assert data, "the server ended"
                incoming.write(data)

    until_done(tls.do_handshake)
    tls.write(head())
    send()
    assert until_done(lambda: tls.read(12)) == b"HTTP/1.1 101"
    while not until_done(lambda: tls.read(65_536)).endswith(b"\r\n\r\n"):
        pass
    tls.write(frame(TEXT, b"x" * 300))
    send()
    echo = b""
    while len(echo) < 304:
        echo += until_done(lambda: tls.read(65_536))
    assert echo == b"\x81\x7e\x01\x2c" + b"x" * 300


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (head(), DECODE_ERROR),
        (b"\x00" * 100, DECODE_ERROR),
        (b"\xff" * 70_000, DECODE_ERROR),
    ],
    ids=["HTTP", "zeros", "much"],
)
def test_what_is_no_tls_gets_an_alert_and_the_end(site: Site, data: bytes, description: int) -> None:
    peer = site.connect(tls=None)
    peer.flood(data)
    assert peer.take(7) == bytes([ALERT, 3, 3, 0, 2, 2, description])
    if len(data) < 65_536:
        assert peer.ending() == "FIN"
    assert handshakes(site)["failed"] == 1
    assert not site.records, "nothing is logged of it"


def test_an_end_in_the_handshake_is_nothing_to_speak_of(site: Site) -> None:
    context = authority().client_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    for size in (0, 1, len(hello) - 1, len(hello)):
        for end in (Peer.close, Peer.reset):
            peer = site.connect(tls=None)
            peer.send(hello[:size])
            end(peer)
    assert eventually(lambda: site.pool.pending == 0)
    assert not site.records


def test_a_client_that_does_not_trust_us_is_counted(site: Site) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        site.connect(tls=ssl.create_default_context())
    assert eventually(lambda: handshakes(site)["failed"] == 1)


def test_silence_ends_at_open_timeout_and_takes_no_slot(serve: Serve) -> None:
    site = serve(open_timeout=0.5, policy_timeout=0.2, **authority().server_fields())
    silent, half = site.connect(tls=None), site.connect(tls=None)
    half.send(b"\x16\x03\x01\x02\x00\x01")
    assert eventually(lambda: site.pool.pending == 2)
    assert site.occupied == 1, "the canary's"
    assert silent.ending() == half.ending() == "RST"
    assert site.call(site.server.status)["handshakes"]["timed_out"] == 2
    assert site.call(site.server.status)["states"]["tls"] == 0


def test_our_end_is_a_close_notify_behind_the_close_frame(site: Site) -> None:
    peer = site.open()
    peer.echo()
    peer.send(frame(8, b"\x03\xe8"))
    assert peer.frame() == Frame(8, b"\x03\xe8")
    assert isinstance(peer.socket, ssl.SSLSocket)
    # Strict: an end without a close_notify raises.
    peer.socket.suppress_ragged_eofs = False
    assert peer.socket.recv(1) == b""
    assert site.ended().code == 1000


def test_a_close_notify_is_an_end_that_is_answered(site: Site) -> None:
    peer = site.open()
    peer.echo()
    assert isinstance(peer.socket, ssl.SSLSocket)
    plain = peer.socket.unwrap()
    assert plain.recv(1) == b""
    plain.close()
    assert site.ended().ending == "transport_lost"


def test_an_end_without_close_notify_is_as_one_with_it(site: Site) -> None:
    peer = site.open()
    peer.echo()
    peer.socket.shutdown(socket.SHUT_WR)
    assert site.ended().ending == "transport_lost"


def test_a_record_that_was_tampered_with_costs_its_sender_only(site: Site) -> None:
    peer = site.open()
    peer.echo()
    raw = socket.socket(fileno=peer.socket.detach())
    raw.settimeout(PATIENCE)
    with raw:
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert raw.recv(65_536)[0] in (0x17, ALERT), "an alert, which is encrypted"
        assert raw.recv(65_536) == b""
    assert site.ended().ending == "transport_lost"


def test_tls_without_an_application_behind_it(serve: Serve) -> None:
    """Everything that is HTTP on the main port is HTTPS."""

    def application(server: sc.Server) -> None:
        server.asset("/page", b"<p>" + b"x" * 900_000, "text/html")

    site = serve(application, **authority().server_fields())
    peer = site.connect()
    peer.send(head("/page", [("Host", "localhost")]))
    found = peer.response()
    assert (found.status, len(found.body)) == (200, 900_003)
    refused = site.connect()
    refused.send(head("/nowhere"))
    assert refused.response().status == 404
