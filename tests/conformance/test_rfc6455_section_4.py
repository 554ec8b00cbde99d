"""RFC 6455 §4 (and §9, which it refers to), the server's side of the opening handshake: each MUST by its number."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest

import streamconductor as sc
from tests.conformance.conftest import Serve
from tests.support.frames import TEXT, Frame, frame
from tests.support.raw import GUID, KEY, Response, head, upgrade_headers
from tests.support.servers import Site


def answered(site: Site, request: bytes) -> Response:
    """The response to a request that is refused: whole, and followed by the end of the connection."""
    with site.connect() as peer:
        peer.send(request)
        answer = peer.response()
    # Nobody who is refused keeps a slot: it is the canary's.
    assert site.occupied == 1
    return answer


def accepted(site: Site, request: bytes) -> Response:
    """The 101 to a request, after which messages flow."""
    with site.connect() as peer:
        peer.send(request)
        answer = peer.response_head()
        assert answer.status == 101
        peer.echo()
    return answer


def with_header(*more: tuple[str, str], without: str = "") -> bytes:
    return head(headers=upgrade_headers(*more, without=without))


def instead_of(name: str, *values: str) -> bytes:
    """A valid upgrade with other values in one of its headers; without values it is left out."""
    return with_header(*((name, value) for value in values), without=name)


# 4.2.1: reading the client's handshake.


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "get"])
def test_4_2_1_1_another_method_than_get_gets_an_http_error(site: Site, method: str) -> None:
    with site.connect() as peer:
        peer.send(head(method=method))
        assert peer.response(head_only=method == "HEAD").status == 405


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "WS/13", ""])
def test_4_2_1_1_another_version_of_http_gets_an_http_error(site: Site, version: str) -> None:
    assert answered(site, head(version=version)).status in (400, 505)


def test_4_2_1_1_the_target_may_be_an_absolute_uri(site: Site) -> None:
    accepted(site, head("http://localhost/echo"))


@pytest.mark.parametrize("hosts", [(), ("localhost", "localhost"), ("a b",)], ids=["none", "two", "no host"])
def test_4_2_1_2_without_one_host_it_is_400(site: Site, hosts: tuple[str, ...]) -> None:
    assert answered(site, instead_of("Host", *hosts)).status == 400


@pytest.mark.parametrize("values", [(), ("h2c",), ("websocket2",), ("",)])
def test_4_2_1_3_without_upgrade_to_websocket_it_is_426(site: Site, values: tuple[str, ...]) -> None:
    assert answered(site, instead_of("Upgrade", *values)).status == 426


@pytest.mark.parametrize("values", [("WebSocket",), ("h2c, WEBSOCKET",), ("h2c", "websocket")])
def test_4_2_1_3_upgrade_counts_in_whatever_case(site: Site, values: tuple[str, ...]) -> None:
    accepted(site, instead_of("Upgrade", *values))


@pytest.mark.parametrize("values", [(), ("close",), ("keep-alive",), ("upgraded",), ("",)])
def test_4_2_1_4_without_connection_upgrade_it_is_426(site: Site, values: tuple[str, ...]) -> None:
    assert answered(site, instead_of("Connection", *values)).status == 426


@pytest.mark.parametrize("values", [("upgrade",), ("keep-alive, UPGRADE",), ("keep-alive", "Upgrade")])
def test_4_2_1_4_connection_counts_in_whatever_case(site: Site, values: tuple[str, ...]) -> None:
    accepted(site, instead_of("Connection", *values))


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("",),
        (base64.b64encode(b"x" * 15).decode(),),
        (base64.b64encode(b"x" * 17).decode(),),
        ("!" * 22 + "==",),
        (KEY.rstrip("="),),
        (KEY, KEY),
    ],
    ids=["none", "empty", "15 bytes", "17 bytes", "no base64", "not padded", "two"],
)
def test_4_2_1_5_without_a_key_of_16_bytes_it_is_400(site: Site, keys: tuple[str, ...]) -> None:
    assert answered(site, instead_of("Sec-WebSocket-Key", *keys)).status == 400


@pytest.mark.parametrize("versions", [(), ("8",), ("13, 8",), ("013",), ("",), ("13", "8")])
def test_4_2_1_6_without_version_13_it_is_426(site: Site, versions: tuple[str, ...]) -> None:
    assert answered(site, instead_of("Sec-WebSocket-Version", *versions)).status == 426


@pytest.mark.parametrize("value", ["chat room", "a/b", "a, b c", '"chat"', "a;b", "caf\xe9"])
def test_4_2_1_7_subprotocols_that_are_no_tokens_are_400(site: Site, value: str) -> None:
    assert answered(site, with_header(("Sec-WebSocket-Protocol", value))).status == 400


BROKEN_EXTENSIONS = [
    "",
    ";",
    "a;",
    "a b",
    "a=b",
    "a; =b",
    "a; b=",
    'a; b="c',
    'a; b="c"d',
    "a; b/c",
    "(a)",
    "caf\xe9",
    "a, ;b",
]


@pytest.mark.parametrize("value", BROKEN_EXTENSIONS)
def test_4_2_1_8_extensions_that_break_the_grammar_are_400(site: Site, value: str) -> None:
    assert answered(site, with_header(("Sec-WebSocket-Extensions", value))).status == 400


# 4.2.2: sending the server's handshake.


def test_4_2_2_1_a_handshake_that_keeps_all_rules_opens_a_connection(site: Site) -> None:
    # In another order, with headers that nobody knows, and in names of another case.
    headers = [(name.upper(), value) for name, value in reversed(list(upgrade_headers()))]
    accepted(site, head(headers=[("X-Unknown", "?"), *headers]))


def test_4_2_2_3_an_origin_that_is_not_acceptable_gets_an_http_error(serve: Serve) -> None:
    site = serve(origins=["https://good.example"])
    assert answered(site, with_header(("Origin", "https://evil.example"))).status == 403
    accepted(site, with_header(("Origin", "https://good.example")))


def test_4_2_2_4_another_version_gets_an_http_error_and_ours(site: Site) -> None:
    answer = answered(site, instead_of("Sec-WebSocket-Version", "25"))
    assert (answer.status, answer.one("Sec-WebSocket-Version")) == (426, "13")


def test_4_2_2_5_what_is_not_there_gets_an_http_error(site: Site) -> None:
    assert answered(site, head("/nothing")).status == 404


def with_subprotocols(server: sc.Server) -> None:
    @server.route("/chat", subprotocols=["v2.chat", "v1.chat"])
    async def chat(connection: sc.Connection[None]) -> None:
        async for message in connection:
            await connection.send(message)


@pytest.mark.parametrize(
    "offer", [("v1.chat",), ("other, v1.chat",), ("other", "v1.chat"), ("other,,v1.chat",)]
)
def test_4_2_2_6_the_subprotocol_is_one_that_is_offered(serve: Serve, offer: tuple[str, ...]) -> None:
    site = serve(with_subprotocols)
    request = head("/chat", upgrade_headers(*(("Sec-WebSocket-Protocol", value) for value in offer)))
    assert accepted(site, request).all("Sec-WebSocket-Protocol") == ["v1.chat"]


@pytest.mark.parametrize("offer", [(), ("other",), ("V1.CHAT",), ("v1",)])
def test_4_2_2_7_without_agreement_no_subprotocol_is_sent(serve: Serve, offer: tuple[str, ...]) -> None:
    site = serve(with_subprotocols)
    request = head("/chat", upgrade_headers(*(("Sec-WebSocket-Protocol", value) for value in offer)))
    assert accepted(site, request).all("Sec-WebSocket-Protocol") == []


def chosen(answer: Response) -> list[str]:
    """The names of the extensions that a response lists."""
    values = ",".join(answer.all("Sec-WebSocket-Extensions")).split(",")
    return [value.split(";")[0].strip() for value in values if value.strip()]


def test_4_2_2_8_extensions_are_taken_from_those_offered(site: Site) -> None:
    offer = "mux; max-channels=4, permessage-deflate, x-webkit-deflate-frame"
    answer = accepted(site, with_header(("Sec-WebSocket-Extensions", offer)))
    assert set(chosen(answer)) <= {"mux", "permessage-deflate", "x-webkit-deflate-frame"}


@pytest.mark.parametrize("offer", ["mux; max-channels=4", "x-unknown", "permessage-bzip2"])
def test_4_2_2_9_no_other_extension_is_listed(site: Site, offer: str) -> None:
    answer = accepted(site, with_header(("Sec-WebSocket-Extensions", offer)))
    assert chosen(answer) == []


def test_4_2_2_10_the_response_proves_that_the_key_was_read(site: Site) -> None:
    keys = [KEY, "AQIDBAUGBwgJCgsMDQ4PEC==", *(base64.b64encode(os.urandom(16)).decode() for _ in range(20))]
    for key in keys:
        answer = accepted(site, instead_of("Sec-WebSocket-Key", key))
        assert answer.line == "HTTP/1.1 101 Switching Protocols"
        assert answer.all("Upgrade") == ["websocket"]
        assert answer.all("Connection") == ["Upgrade"]
        digest = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert answer.all("Sec-WebSocket-Accept") == [digest]
    assert accepted(site, head()).one("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("value", ['a; b="c d"', 'a; b="c,d"', 'a; b=""', 'a; b="c\\ d"', 'a; b="caf\xe9"'])
def test_4_3_1_a_quoted_parameter_that_says_no_token_is_400(site: Site, value: str) -> None:
    assert answered(site, with_header(("Sec-WebSocket-Extensions", value))).status == 400
    accepted(site, with_header(("Sec-WebSocket-Extensions", 'a; b="c\\d"')))


@pytest.mark.parametrize("version", ["0", "7", "8", "12", "14", "255"])
def test_4_4_1_a_version_that_is_not_supported_is_told_which_are(site: Site, version: str) -> None:
    answer = answered(site, instead_of("Sec-WebSocket-Version", version))
    assert answer.status == 426
    assert answer.all("Sec-WebSocket-Version") == ["13"]
    # As §4.4 has it, the client then repeats the handshake.
    accepted(site, head())


# 5.8, 9 and 9.1: extensions.


def test_5_8_1_without_negotiation_no_frame_uses_an_extension(site: Site) -> None:
    with site.connect() as peer:
        peer.upgrade()
        for size in (0, 1, 1_000, 100_000):
            peer.send(frame(TEXT, b"x" * size))
            # The parser of the tests refuses reserved bits and opcodes.
            assert peer.frame() == Frame(TEXT, b"x" * size)
        peer.send(frame(TEXT, b"x", reserved=4))
        assert peer.closed()[0] == 1002


@pytest.mark.parametrize("offer", [None, "x-unknown", "permessage-deflate2"])
def test_9_1_no_extension_is_in_the_response_that_was_not_offered(site: Site, offer: str | None) -> None:
    more = [] if offer is None else [("Sec-WebSocket-Extensions", offer)]
    assert accepted(site, with_header(*more)).all("Sec-WebSocket-Extensions") == []


@pytest.mark.parametrize("values", [("a", "b;"), ("a;", "b"), (",",)])
def test_9_1_1_a_list_of_extensions_that_breaks_the_grammar_in_any_line_is_400(
    site: Site, values: tuple[str, ...]
) -> None:
    headers = [("Sec-WebSocket-Extensions", value) for value in values]
    assert answered(site, with_header(*headers)).status == 400
    # Several lines are one list.
    accepted(
        site, with_header(("Sec-WebSocket-Extensions", "foo"), ("Sec-WebSocket-Extensions", "bar; baz=2"))
    )


# 7.2.2: aborting.


@pytest.mark.parametrize(
    "request_bytes",
    [instead_of("Sec-WebSocket-Key"), head("/nothing"), instead_of("Upgrade"), b"\x00\x01\x02\x03\r\n\r\n"],
    ids=["no key", "no path", "no upgrade", "no HTTP"],
)
def test_7_2_2_1_a_server_that_aborts_the_handshake_closes_the_connection(
    site: Site, request_bytes: bytes
) -> None:
    with site.connect() as peer:
        peer.send(request_bytes)
        # Asserts that the end follows.
        assert peer.response().status >= 400
