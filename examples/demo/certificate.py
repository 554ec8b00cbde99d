"""Receives the host that the demo listens on · hands it a certificate, made on the spot · owns the directory that holds
it, which goes with the demo.
"""

from __future__ import annotations

import ipaddress
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DAYS = 7
"""How long it is good for; longer than any demo."""


class NoCertificate(Exception):
    """`openssl` is missing, or could not do it; its message says which."""


@contextmanager
def certificate(host: str) -> Iterator[tuple[Path, Path]]:
    """The files of a certificate for `host` and loopback, signed by itself, and of its key."""
    with tempfile.TemporaryDirectory(prefix="streamconductor-demo-") as directory:
        files = Path(directory) / "certificate.pem", Path(directory) / "key.pem"
        _make(host, *files)
        yield files


def _make(host: str, certificate: Path, key: Path) -> None:
    names = ",".join(dict.fromkeys(["DNS:localhost", "IP:127.0.0.1", "IP:::1", _name(host)]))
    # An elliptic key: a handshake with an RSA key takes ten times as long.
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", str(DAYS), "-subj", "/CN=localhost", "-addext", f"subjectAltName={names}"]
    try:
        subprocess.run(
            [*command, "-out", certificate, "-keyout", key], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise NoCertificate("no openssl on PATH: install it (apt-get install openssl)") from None
    except subprocess.CalledProcessError as error:
        raise NoCertificate(f"openssl made no certificate: {error.stderr.strip()}") from None


def _name(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"
