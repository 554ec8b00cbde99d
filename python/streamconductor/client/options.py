"""Receives the keywords of `connect` · hands the native half an endpoint, and an engine its limits · owns their names,
defaults and what is wrong with them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Endpoint", "Headers"]

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Endpoint:
    """Where a connection goes, and what is said there."""

    url: str
    headers: Headers = ()
    subprotocols: Iterable[str] = ()
    origin: str | None = None
    user_agent: str | None = None
    bearer_token: str | None = None
    compression: bool = False
    proxy: str | bool = True
    unix_socket: str | os.PathLike[str] | None = None
    addresses: Iterable[str] | None = None
    tls_authorities: str | os.PathLike[str] | None = None
    tls_certificate: str | os.PathLike[str] | None = None
    tls_key: str | os.PathLike[str] | None = None
    server_hostname: str | None = None
    open_timeout: float = 5.0
    weight: int = 1

    def __post_init__(self) -> None:
        given: object = self.url
        if not isinstance(given, str):
            raise TypeError(f"url must be text such as 'wss://host/path', not {type(given).__name__}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together; give both or none")
        if not self.open_timeout > 0:
            raise ValueError(f"open_timeout is {self.open_timeout} s; it must be positive")
        if not 0 <= self.weight <= 2**16:
            raise ValueError(f"weight is {self.weight}; it must be 0 to {2**16}")

    def setting(self) -> dict[str, Any]:
        """As the native half has it."""
        headers = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        if isinstance(self.subprotocols, str):
            raise TypeError(f"subprotocols must be several names: ['{self.subprotocols}']")
        return {
            "url": self.url,
            "headers": [(name, value) for name, value in headers],
            "subprotocols": list(self.subprotocols),
            "origin": self.origin,
            "user_agent": self.user_agent,
            "bearer_token": self.bearer_token,
            "compression": self.compression,
            "proxy": self.proxy,
            "unix_socket": _path(self.unix_socket),
            "addresses": None if self.addresses is None else list(self.addresses),
            "tls_authorities": _path(self.tls_authorities),
            "tls_certificate": _path(self.tls_certificate),
            "tls_key": _path(self.tls_key),
            "server_hostname": self.server_hostname,
            "open_timeout": float(self.open_timeout),
            "weight": self.weight,
        }


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)
