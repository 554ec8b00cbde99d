"""Receives nothing · hands tests keys of every algorithm, their files and tokens signed with them by PyJWT · owns the
keys, which are made anew in each run.
"""

from __future__ import annotations

import datetime
import functools
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm


@dataclass(frozen=True)
class Signer:
    """A key that makes tokens.

    Attributes:
        algorithm: as tokens name it.
        private: what PyJWT signs with.
        public: the content of the file that the server reads.
        suffix: of that file.
    """

    algorithm: str
    private: Any
    public: bytes
    suffix: str

    def token(self, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that lives for a minute unless `claims` say otherwise; None leaves a claim out."""
        claims = {"sub": "ada", "exp": int(time.time()) + 60} | claims
        payload = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(payload, self.private, self.algorithm, headers)

    def write(self, folder: Path, name: str) -> Path:
        """The file of the key, whose name is that of the key."""
        file = folder / (name + self.suffix)
        file.write_bytes(self.public)
        return file

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a member of a JWK Set."""
        kinds: dict[str, Callable[..., Any]] = {
            "RS256": RSAAlgorithm.to_jwk,
            "ES256": ECAlgorithm.to_jwk,
            "EdDSA": OKPAlgorithm.to_jwk,
        }
        key: dict[str, Any] = json.loads(kinds[self.algorithm](self.private.public_key()))
        return key | members


def _of_pair(algorithm: str, private: Any) -> Signer:
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Signer(algorithm, private, public, ".pem")


def hs256() -> Signer:
    """A secret that nobody else has; its file ends in a newline."""
    secret = secrets.token_urlsafe(32)
    return Signer("HS256", secret, secret.encode() + b"\n", ".key")


@functools.cache
def rs256() -> Signer:
    return _of_pair("RS256", rsa.generate_private_key(65_537, 2_048))


@functools.cache
def es256() -> Signer:
    return _of_pair("ES256", ec.generate_private_key(ec.SECP256R1()))


@functools.cache
def eddsa() -> Signer:
    return _of_pair("EdDSA", ed25519.Ed25519PrivateKey.generate())


def signers() -> dict[str, Signer]:
    """One of each algorithm."""
    return {signer.algorithm: signer for signer in (hs256(), rs256(), es256(), eddsa())}


def certified(signer: Signer, issuer: Signer) -> Signer:
    """The same key, whose file is a certificate by `issuer`."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "token issuer")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(signer.private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    hash_of = None if issuer.algorithm == "EdDSA" else hashes.SHA256()
    certificate = builder.sign(issuer.private, hash_of)
    content = certificate.public_bytes(serialization.Encoding.PEM)
    return Signer(signer.algorithm, signer.private, content, ".pem")


def private_pem(signer: Signer) -> bytes:
    """What must never be given to a server."""
    content: bytes = signer.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return content
