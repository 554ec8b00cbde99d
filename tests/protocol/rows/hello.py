"""Receives nothing · hands out the first bytes of a TLS handshake · owns nothing."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def client_hello() -> bytes:
    """A ClientHello in one record, as a client of this machine sends it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("nobody has answered")


def old_hello() -> bytes:
    """A ClientHello of TLS 1.0, which no library makes any more."""
    ciphers = bytes.fromhex("c013c0140033002f0035000a")
    body = b"\x03\x01" + bytes(range(32)) + b"\x00" + len(ciphers).to_bytes(2, "big") + ciphers + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def in_records(hello: bytes, size: int) -> bytes:
    """The same handshake message in records of `size` bytes (RFC 8446 §5.1 allows it)."""
    message = hello[5:]
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)
