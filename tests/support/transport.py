"""Receives the wish to speak TLS · hands out what a server and its clients need for it · owns an authority of this
process, made at run time and gone with it: no key is ever checked in.
"""

from __future__ import annotations

import atexit
import functools
import ssl
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import trustme

import streamconductor as sc

__all__ = ["Authority", "Pair", "authority", "tls_of"]


class Pair(NamedTuple):
    """The files of one certificate: its chain, and its key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates that its clients trust, into a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self._count = 0
        self.file = directory / "authority.pem"
        """The authority's own certificate, for those who read a file."""
        self._authority.cert_pem.write_to_path(self.file)
        self._server = self.issue("localhost", "127.0.0.1", "::1")

    def issue(self, *names: str, common_name: str | None = None, organization: str | None = None) -> Pair:
        """A certificate for these host names and addresses."""
        leaf = self._authority.issue_cert(*names, common_name=common_name, organization_name=organization)
        self._count += 1
        pair = Pair(self._directory / f"{self._count}.pem", self._directory / f"{self._count}.key")
        for place, blob in enumerate(leaf.cert_chain_pems):
            blob.write_to_path(pair.certificate, append=place > 0)
        leaf.private_key_pem.write_to_path(pair.key)
        return pair

    def server_fields(self) -> dict[str, Any]:
        """The keywords of `Config` with which a server on this machine speaks TLS."""
        return {"tls_certificate": str(self._server.certificate), "tls_key": str(self._server.key)}

    def client_context(self, certificate: Pair | None = None) -> ssl.SSLContext:
        """What a client needs to speak to it as `localhost` or 127.0.0.1, maybe with a certificate of its own."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        return context


@functools.cache
def authority() -> Authority:
    """The authority of this process."""
    place = tempfile.TemporaryDirectory(prefix="streamconductor-tls-")
    atexit.register(place.cleanup)
    return Authority(Path(place.name))


def tls_of(server: sc.Server) -> ssl.SSLContext | None:
    """What a client needs to speak TLS with a server of `authority().server_fields()`; None: it is plain."""
    return None if server.config.tls_certificate is None else authority().client_context()
