"""Receives nothing · hands the registry the row of bearer tokens that somebody else has made · owns the keys of a run,
and the forgeries.
"""

from __future__ import annotations

import atexit
import base64
import functools
import hashlib
import hmac
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.protocol.rows.forms import refusal, refused, with_header
from tests.protocol.rows.registry import Profile, row
from tests.protocol.rows.stage import Stage
from tests.support import tokens
from tests.support.raw import Headers
from tests.support.tokens import Signer


@functools.cache
def _signers() -> dict[str, Signer]:
    return tokens.signers()


@functools.cache
def _folder() -> Path:
    place = tempfile.TemporaryDirectory(prefix="streamconductor-keys-")
    atexit.register(place.cleanup)
    return Path(place.name)


def _settings() -> dict[str, Any]:
    return {"token_keys": [str(signer.write(_folder(), name)) for name, signer in _signers().items()]}


def _bearing(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def _welcome() -> Headers:
    return [_bearing(_signers()["ES256"].token(aud="this", exp=int(time.time()) + 3_600))]


TOKENS = Profile("tokens", {"token_audience": "this"}, made=_settings, headers=_welcome)


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _live() -> dict[str, Any]:
    return {"sub": "ada", "exp": int(time.time()) + 60, "aud": "this"}


def _unsigned() -> str:
    return f"{_part({'alg': 'none'})}.{_part(_live())}."


def _confused() -> str:
    """The public key, which everybody has, as the secret of an HMAC."""
    message = f"{_part({'alg': 'HS256', 'kid': 'RS256'})}.{_part(_live())}"
    tag = hmac.new(_signers()["RS256"].public, message.encode(), hashlib.sha256).digest()
    return f"{message}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


def _by_path() -> str:
    """Signed with a key that lies where the `kid` leads."""
    outside = tokens.hs256()
    outside.write(_folder().parent, f"{_folder().name}-outside")
    atexit.register((_folder().parent / f"{_folder().name}-outside.key").unlink, missing_ok=True)
    return outside.token(headers={"kid": f"../{_folder().name}-outside"}, **_live())


H22 = row(
    "H22",
    "a token with `alg` none, an RSA key taken for a secret, another audience, expired, a `kid` with a path, of 1 MB",
    "401 before the 101, 431 for one of 1 MB; no key is looked for on the strength of a token",
)
FORGED: dict[str, Callable[[], str]] = {
    "alg none": _unsigned,
    "RS256 as HS256": _confused,
    "kid with a path": functools.cache(_by_path),
    "another's key": lambda: tokens.hs256().token(**_live()),
    "another audience": lambda: _signers()["HS256"].token(**_live() | {"aud": "that"}),
    "no audience": lambda: _signers()["EdDSA"].token(**_live() | {"aud": None}),
    "expired": lambda: _signers()["RS256"].token(**_live() | {"exp": int(time.time()) - 1}),
    "too long": lambda: _signers()["HS256"].token(**_live(), x="x" * 8_192),
    "junk": lambda: "..",
}
for title, forge in FORGED.items():

    def forged(stage: Stage, forge: Callable[[], str] = forge) -> None:
        peer = stage.connect()
        token = forge()
        peer.send(with_header(_bearing(token)))
        answer = refusal(peer, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        # Nothing of it is said again.
        assert not any(part.encode() in answer.body for part in token.split(".") if len(part) > 4)

    H22.add(title, forged, TOKENS)

H22.add("none", refused(with_header(), 401, {"WWW-Authenticate": "Bearer"}), TOKENS)


@H22.case("1 MB", TOKENS)
def endless_token(stage: Stage) -> None:
    peer = stage.connect()
    peer.flood(with_header(_bearing("x" * 2**20)))
    assert peer.response_head().status == 431


@H22.case("a good one", TOKENS)
def good_token(stage: Stage) -> None:
    stage.open().echo()
