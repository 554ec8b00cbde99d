"""Bearer tokens: who comes in with which, what the application hears of it, and when its life is over."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import math
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

import streamconductor as sc
from tests.support import tokens
from tests.support.live import client, ending, server_with, until
from tests.support.tokens import Signer


def served(*files: Path, **settings: Any) -> sc.Server:
    """A server that says who is there, and asks for a token of these keys where there are any."""
    server = server_with(**({"token_keys": [str(file) for file in files]} if files else {}), **settings)

    @server.route("/")
    async def greet(connection: sc.Connection[Any]) -> None:
        await connection.send({"user": connection.user, "claims": connection.request.claims})
        async for _ in connection:
            pass

    return server


def bearing(server: sc.Server, token: str | None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return client(server, additional_headers=headers)


async def greeting(server: sc.Server, token: str | None) -> dict[str, Any]:
    """What somebody with this token is told."""
    async with bearing(server, token) as peer:
        said: dict[str, Any] = json.loads(await peer.recv())
        return said


async def refusal(server: sc.Server, token: str | None, status: int = 401) -> tuple[str, str]:
    """The challenge and the reason that somebody with this token is refused with."""
    with pytest.raises(InvalidStatus) as refused:
        async with bearing(server, token):
            pass
    response = refused.value.response
    assert response.status_code == status, token
    assert response.body is not None
    return response.headers.get("WWW-Authenticate", ""), response.body.decode().strip()


@pytest.fixture(scope="module")
def signers() -> dict[str, Signer]:
    return tokens.signers()


# Who comes in.


async def test_every_algorithm_with_and_without_kid(tmp_path: Path, signers: dict[str, Signer]) -> None:
    server = served(*(signer.write(tmp_path, name) for name, signer in signers.items()))
    async with server:
        for name, signer in signers.items():
            for headers in ({}, {"kid": name}):
                claims = {"sub": "ada", "exp": int(time.time()) + 60, "roles": ["a", {"b": None}]}
                said = await greeting(server, signer.token(headers=headers, **claims))
                assert said == {"user": "ada", "claims": claims}
        assert server.status()["handshakes"]["token"] == 0


@pytest.mark.parametrize("issuer", ["RS256", "ES256", "EdDSA"])
async def test_a_certificate_is_as_good_as_its_key(
    tmp_path: Path, signers: dict[str, Signer], issuer: str
) -> None:
    # The key is the subject's, whoever has signed the certificate.
    for algorithm in ("RS256", "ES256", "EdDSA"):
        signer = tokens.certified(signers[algorithm], signers[issuer])
        async with served(signer.write(tmp_path, algorithm)) as server:
            assert (await greeting(server, signer.token()))["user"] == "ada"
            assert await refusal(server, signers["HS256"].token())


async def test_a_jwk_set_names_its_keys(tmp_path: Path, signers: dict[str, Signer]) -> None:
    file = tmp_path / "keys.json"
    pairs = [signer for name, signer in signers.items() if name != "HS256"]
    file.write_text(json.dumps({"keys": [signer.jwk(kid=f"the {signer.algorithm}") for signer in pairs]}))
    async with served(file) as server:
        for signer in pairs:
            for headers in ({}, {"kid": f"the {signer.algorithm}"}):
                assert (await greeting(server, signer.token(headers=headers)))["user"] == "ada"
            _, reason = await refusal(server, signer.token(headers={"kid": "keys"}))
            assert reason == "the token's kid names no key"


async def test_a_token_comes_in_a_header_a_cookie_or_a_subprotocol(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    signer = signers["ES256"]
    server = served(signer.write(tmp_path, "key"), bearer_cookie="session", subprotocols=["chat"])
    async with server:
        for options in (
            {"additional_headers": {"Cookie": f"a=b; session={signer.token()}"}},
            {"subprotocols": [f"bearer.{signer.token()}", "chat"]},
            # The first place that holds one decides.
            {"additional_headers": {"Authorization": f"Bearer {signer.token()}", "Cookie": "session=bad"}},
        ):
            async with client(server, **options) as peer:
                assert json.loads(await peer.recv())["user"] == "ada"
        with pytest.raises(InvalidStatus):
            async with client(
                server,
                additional_headers={"Authorization": "Bearer bad", "Cookie": f"session={signer.token()}"},
            ):
                pass


async def test_on_connect_sees_the_claims_and_has_the_last_word(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    signer = signers["HS256"]
    server = served(signer.write(tmp_path, "key"))
    seen: list[Any] = []

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None] | sc.Reject:
        seen.append(request.claims)
        assert request.claims is not None
        if "banned" in request.claims:
            return sc.Reject(403, "banned")
        return sc.Accept(user=request.claims.get("as"))

    async with server:
        assert (await greeting(server, signer.token()))["user"] == "ada"
        assert (await greeting(server, signer.token(**{"as": "grace"})))["user"] == "grace"
        assert await refusal(server, signer.token(banned=True), 403) == ("", "banned")
        await refusal(server, None)
        assert len(seen) == 3, "it is asked only about those with a good token"


async def test_without_keys_nothing_is_asked_for_and_nothing_is_claimed() -> None:
    async with served() as server:
        said = await greeting(server, "what.ever.itis")
        assert said == {"user": None, "claims": None}


async def test_another_claim_names_the_user(tmp_path: Path, signers: dict[str, Signer]) -> None:
    signer = signers["EdDSA"]
    async with served(signer.write(tmp_path, "key"), token_user_claim="uid") as server:
        assert (await greeting(server, signer.token(uid="7")))["user"] == "7"
        assert (await greeting(server, signer.token()))["user"] is None
        await refusal(server, signer.token(uid=7))


# H22: who does not.


def unsigned(header: dict[str, Any], claims: dict[str, Any] | str) -> str:
    def part(value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}"


def signed_with(secret: bytes, header: dict[str, Any], claims: dict[str, Any] | str) -> str:
    message = unsigned(header, claims)
    tag = hmac.new(secret, message.encode(), hashlib.sha256).digest()
    return f"{message}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


@pytest.mark.parametrize("attempt", range(2))
async def test_h22_every_way_to_forge_a_token(
    tmp_path: Path, signers: dict[str, Signer], attempt: int
) -> None:
    secret, rs256, es256 = signers["HS256"], signers["RS256"], signers["ES256"]
    files = [signer.write(tmp_path, name) for name, signer in signers.items()]
    # A key that lies outside, at the end of a path that a `kid` might lead along.
    outside = tokens.hs256()
    outside.write(tmp_path.parent, f"outside{attempt}")
    live = {"sub": "ada", "exp": int(time.time()) + 60, "iss": "us", "aud": "this"}
    fields = {"token_issuer": "us", "token_audience": "this"}
    known = secret.private.encode()
    good = secret.token(**live)
    head, claims, signature = good.split(".")
    cases = {
        "none": unsigned({"alg": "none"}, live) + ".",
        "None": unsigned({"alg": "nOnE"}, live) + ".",
        "none with a signature": f"{unsigned({'alg': 'none'}, live)}.{signature}",
        "no signature": f"{head}.{claims}.",
        "the public key as a secret": signed_with(rs256.public, {"alg": "HS256"}, live),
        "the same by name": signed_with(rs256.public, {"alg": "HS256", "kid": "RS256"}, live),
        "the same without a newline": signed_with(
            rs256.public.strip(), {"alg": "HS256", "kid": "RS256"}, live
        ),
        "the elliptic one, too": signed_with(es256.public, {"alg": "HS256", "kid": "ES256"}, live),
        "another secret": signed_with(b"x" * 32, {"alg": "HS256"}, live),
        "another algorithm's name": signed_with(known, {"alg": "HS512"}, live),
        "wrong audience": secret.token(**live | {"aud": "that"}),
        "wrong audiences": secret.token(**live | {"aud": ["that", "those"]}),
        "no audience": secret.token(**live | {"aud": None}),
        "wrong issuer": secret.token(**live | {"iss": "them"}),
        "issuers": signed_with(known, {"alg": "HS256"}, live | {"iss": ["us"]}),
        "no issuer": secret.token(**live | {"iss": None}),
        "expired": secret.token(**live | {"exp": int(time.time()) - 1}),
        "not yet": secret.token(**live | {"nbf": int(time.time()) + 60}),
        "no exp": secret.token(**live | {"exp": None}),
        "exp is text": signed_with(known, {"alg": "HS256"}, live | {"exp": "9999999999"}),
        "exp is negative": signed_with(known, {"alg": "HS256"}, live | {"exp": -1}),
        "exp is huge": signed_with(known, {"alg": "HS256"}, live | {"exp": 2**64}),
        "exp is vast": signed_with(known, {"alg": "HS256"}, live | {"exp": 1e300}),
        "exp is infinite": signed_with(known, {"alg": "HS256"}, live | {"exp": math.inf}),
        "exp is a list": signed_with(known, {"alg": "HS256"}, live | {"exp": [9999999999]}),
        "exp twice": signed_with(known, {"alg": "HS256"}, json.dumps(live)[:-1] + ', "exp": 9999999999}'),
        "kid is a path": outside.token(headers={"kid": f"../outside{attempt}"}, **live),
        "kid is a long path": outside.token(headers={"kid": "../../../../../../dev/null"}, **live),
        "kid is absolute": outside.token(headers={"kid": str(tmp_path.parent / f"outside{attempt}")}, **live),
        "kid is unknown": secret.token(headers={"kid": "nobody"}, **live),
        "kid is another's": secret.token(headers={"kid": "EdDSA"}, **live),
        "kid is a number": signed_with(known, {"alg": "HS256", "kid": 7}, live),
        "crit": secret.token(headers={"crit": ["exp"]}, **live),
        "crit is empty": secret.token(headers={"crit": []}, **live),
        "its own key": outside.token(
            headers={"jwk": {"kty": "oct", "k": base64.b64encode(outside.private.encode()).decode()}}, **live
        ),
        "a key elsewhere": outside.token(headers={"jku": "https://127.0.0.1:1/keys.json"}, **live),
        "claims are a list": signed_with(known, {"alg": "HS256"}, json.dumps([live])),
        "claims are text": signed_with(known, {"alg": "HS256"}, '"ada"'),
        "claims are nothing": signed_with(known, {"alg": "HS256"}, ""),
        "nested": signed_with(known, {"alg": "HS256", "cty": "JWT"}, good),
        "five parts": f"{good}.a.b",
        "one part": head,
        "no base64": "%%%.%%%.%%%",
        "other base64": f"{head}.{claims}.{signature}==",
        "dots": "..",
        "changed claims": f"{head}.{claims[:-2]}AA.{signature}",
        "too long": secret.token(**live, x="x" * 8_192),
    }
    async with served(*files, **fields) as server:
        assert (await greeting(server, good))["user"] == "ada"
        for name, token in cases.items():
            challenge, reason = await refusal(server, token)
            assert challenge == 'Bearer error="invalid_token"', name
            assert reason.startswith(("the token", "no key verifies")), name
            assert not any(part in reason for part in token.split(".") if len(part) > 4), name
        assert await refusal(server, None) == ("Bearer", "a bearer token is needed")
        assert server.status()["handshakes"]["token"] == len(cases) + 1
        assert 'outcome="token"' in server.metrics()
        # Longer than any head may be: it is not even read.
        await refusal(server, "x" * 2**20, 431)
        assert (await greeting(server, good))["user"] == "ada"


async def test_a_date_may_have_a_fraction_and_clocks_may_differ(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    signer = signers["HS256"]
    async with served(signer.write(tmp_path, "key"), token_leeway="30s") as server:
        assert await greeting(server, signer.token(exp=time.time() + 60.5))
        assert await greeting(server, signer.token(exp=int(time.time()) - 5, nbf=int(time.time()) + 5))
        await refusal(server, signer.token(exp=int(time.time()) - 40))


# Keys.


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("absent.pem", None, "cannot be read"),
        ("empty.pem", b"", "holds no public key"),
        ("nothing.pem", b"what is this?", "holds no public key"),
        ("short.key", b"PLANTED and short", "holds a secret of 17 bytes; HS256 needs at least 32"),
        ("public.key", b"-----BEGIN PUBLIC KEY-----\nPLANTED", "looks like a public key"),
        ("set.json", b'{"keys": "PLANTED"}', "is no JWK Set"),
        ("none.json", b'{"keys": [{"kty": "PLANTED"}]}', "holds no key for checking signatures"),
        ("large.key", b"PLANTED" * 2**16, "has more than"),
    ],
)
async def test_a_key_that_cannot_be_used_is_an_error_at_start(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    server = served(file)
    with pytest.raises(sc.ConfigError) as caught:
        await server.start()
    [line] = caught.value.problems
    assert line.startswith(f"token_keys: {file}: ")
    assert problem in line
    assert "PLANTED" not in line
    # Nothing of it is left: with a good key it starts.
    assert server.config.token_keys is not None
    (good := tokens.eddsa()).write(tmp_path, "good")
    async with served(tmp_path / "good.pem") as other:
        assert await greeting(other, good.token())


async def test_a_private_key_is_refused_wherever_it_stands(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    for name, signer in signers.items():
        if name != "HS256":
            file = tmp_path / f"{name}.pem"
            file.write_bytes(tokens.private_pem(signer))
            with pytest.raises(sc.ConfigError, match="holds a private key; give the public one"):
                await served(file).start()


async def test_keys_are_at_most_sixteen_and_each_has_its_own_name(tmp_path: Path) -> None:
    files = [tokens.hs256().write(tmp_path, f"key{number}") for number in range(17)]
    with pytest.raises(sc.ConfigError, match="brings the number of keys to 17; at most 16 are taken"):
        await served(*files).start()
    twin = tokens.eddsa().write(tmp_path, "key0")
    with pytest.raises(sc.ConfigError, match="names a key as another one is named"):
        await served(files[0], twin).start()


async def test_keys_are_read_anew_and_a_bad_file_changes_nothing(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    old, new = tokens.hs256(), tokens.hs256()
    file = old.write(tmp_path, "key")
    async with served(file) as server, bearing(server, old.token()) as peer:
        await peer.recv()
        file.write_bytes(b"too short")
        with pytest.raises(sc.ConfigError, match=r"token_keys: .* holds a secret of 9 bytes"):
            server.reconfigure(max_channels=7)
        assert server.config.max_channels != 7
        assert await greeting(server, old.token())
        new.write(tmp_path, "key")
        server.reconfigure()
        assert await greeting(server, new.token())
        await refusal(server, old.token())
        # Who is in stays in.
        await peer.send("still here")
        assert len(server.connections()) == 1


# How long it lives.


async def test_at_exp_the_connection_ends_with_4401(tmp_path: Path, signers: dict[str, Signer]) -> None:
    signer = signers["ES256"]
    server = served(signer.write(tmp_path, "key"))
    endings: list[str] = []
    server.on_close(lambda connection: endings.append(connection.closed.ending))
    async with server:
        expires = time.time() + 1
        async with bearing(server, signer.token(exp=expires)) as peer:
            assert await ending(peer) == (4401, "token expired")
            assert time.time() >= expires
        await until(lambda: endings == ["token_expired"])
        assert server.status()["endings"]["token_expired"] == 1


async def test_a_life_is_extended_shortened_and_made_endless(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    signer = signers["HS256"]
    async with served(signer.write(tmp_path, "key")) as server:
        for beyond in (datetime.now(UTC) + timedelta(hours=1), time.time() + 3_600, 2**70, math.inf):
            expires = time.time() + 1
            async with bearing(server, signer.token(exp=expires)) as peer:
                await peer.recv()
                [connection] = server.connections()
                connection.extend(beyond)
                # Its old end passes: after that it is there, and told so by an answer.
                while time.time() < expires + 0.2:
                    await (await peer.ping())
                    await asyncio.sleep(0.02)
                connection.extend(time.time() + 0.05)
                assert await ending(peer) == (4401, "token expired")
                await connection.wait_closed()
                connection.extend(beyond)


async def test_extend_acts_from_any_thread_and_without_a_token() -> None:
    async with served() as server, client(server) as peer:
        await peer.recv()
        [connection] = server.connections()
        thread = threading.Thread(target=connection.extend, args=(time.time() - 1,))
        thread.start()
        assert await ending(peer) == (4401, "token expired")
        thread.join()


async def test_accept_says_how_long_without_a_token_and_instead_of_one(
    tmp_path: Path, signers: dict[str, Signer]
) -> None:
    signer = signers["HS256"]
    for server in (served(), served(signer.write(tmp_path, "key"))):

        @server.on_connect
        def admit(request: sc.Request) -> sc.Accept[None]:
            return sc.Accept(expires_at=datetime.now(UTC) + timedelta(milliseconds=300))

        async with server, bearing(server, signer.token()) as peer:
            assert await ending(peer) == (4401, "token expired")


async def test_a_moment_that_means_nothing_is_an_error() -> None:
    async with served() as server, client(server) as peer:
        await peer.recv()
        [connection] = server.connections()
        with pytest.raises(ValueError, match="without a time zone"):
            connection.extend(datetime(2030, 1, 1))
        with pytest.raises(ValueError, match="until is NaN"):
            connection.extend(math.nan)
        for other in ("tomorrow", True, None):
            with pytest.raises(TypeError, match="until is a datetime or seconds since 1970, not"):
                connection.extend(other)  # type: ignore[arg-type]
        assert len(server.connections()) == 1


async def test_a_bad_expires_at_refuses_the_request(caplog: pytest.LogCaptureFixture) -> None:
    server = served()
    server.on_connect(lambda request: sc.Accept(expires_at=datetime(2030, 1, 1)))
    async with server:
        await refusal(server, None, 500)
    assert any("Accept.expires_at is 2030" in str(record.exc_info) for record in caplog.records)


# What must not be said anywhere.


async def test_no_token_is_ever_logged_or_shown(
    tmp_path: Path, signers: dict[str, Signer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "streamconductor")
    signer = signers["HS256"]
    server = served(signer.write(tmp_path, "key"))

    @server.on_connect
    def admit(request: sc.Request) -> sc.Accept[None]:
        raise RuntimeError(f"about {request!r}")

    good, expired = signer.token(sub="PLANTED"), signer.token(sub="PLANTED", exp=1)
    async with server:
        for token, status in ((good, 500), (expired, 401)):
            await refusal(server, token, status)
            said = caplog.text + json.dumps(server.status()) + server.metrics()
            assert not any(part in said for part in token.split("."))
        assert "PLANTED" not in caplog.text + json.dumps(server.status()) + server.metrics()
        assert signer.private not in caplog.text + repr(server.config)
