"""Receives client addresses and texts of peers that are about to be shown to people · hands back what may be shown ·
owns the forms of `Config.address_privacy` and the key of its hash.
"""

from __future__ import annotations

import hashlib
import secrets
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config_keywords import PrivacyName

__all__ = ["one_line", "shown_address"]

# Of this process only: a hash without a key is undone by hashing all four billion addresses of IPv4.
_KEY = secrets.token_bytes(32)


def shown_address(address: str | None, form: PrivacyName) -> str:
    """A client's address as logs show it.

    Args:
        address: the IP address; `None`: the client came over a Unix socket.
        form: `Config.address_privacy`.
    """
    if address is None:
        return "a Unix socket"
    found = _canonical(address)
    if form == "prefix":
        length = 24 if found.version == 4 else 48
        return str(ip_network((found, length), strict=False))
    if form == "hash":
        return hashlib.blake2s(found.packed, key=_KEY, digest_size=6).hexdigest()
    return str(found)


def _canonical(address: str) -> IPv4Address | IPv6Address:
    found = ip_address(address)
    # A socket for both families has other spellings for addresses of IPv4.
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def one_line(text: str) -> str:
    """Text of a peer without what could end a log line or command a terminal: control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
