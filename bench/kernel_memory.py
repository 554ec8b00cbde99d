"""Receives a port · hands out what the kernel holds in the sockets of the server there · owns the question to the
kernel (sock_diag(7)), Linux only.

The load generator sees what all sockets of the machine hold, the clients' own receive buffers among them. Of a reader
that stalls most is there, and is not the server's.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
INET_DIAG_SKMEMINFO = 7
ESTABLISHED = 1 << 1

LOOK = 1.0

_HEADER = struct.Struct("=IHHII")
_ID = struct.Struct(">HH")
_REQUEST = struct.Struct("=BBBxI")
_ID_LENGTH, _MESSAGE_LENGTH = 48, 72
_ATTRIBUTE = struct.Struct("=HH")
# Received, room to receive, to send, room to send, ahead, queued, options, backlog, drops; each 32 bits.
_MEMORY = struct.Struct("=8I")


def of_port(port: int) -> int:
    """Bytes in established TCP sockets whose own port it is: received, to be sent, allocated ahead.

    Args:
        port: a server's.

    Raises:
        OSError: the kernel does not say.
    """
    request = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 1 << (INET_DIAG_SKMEMINFO - 1), ESTABLISHED)
    # The kernel filters by nothing but the state here; ports are compared below.
    request += bytes(_ID_LENGTH)
    head = _HEADER.pack(
        _HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, os.getpid()
    )
    total = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(5.0)
        kernel.send(head + request)
        while True:
            data = kernel.recv(1 << 18)
            while data:
                length, sort, _, _, _ = _HEADER.unpack_from(data)
                message, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
                if sort == NLMSG_DONE:
                    return total
                if sort == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", message)[0], "sock_diag")
                source, _ = _ID.unpack_from(message, 4)
                if source == port:
                    total += _memory(message[_MESSAGE_LENGTH:])


@contextlib.contextmanager
def watching(port: int) -> Iterator[Callable[[], int | None]]:
    """Looks once a second, for as long as the context lasts; what it gives tells the most that was seen, None where the
    kernel does not say.
    """
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(LOOK):
                seen.append(of_port(port))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: max(seen, default=None)
    finally:
        over.set()
        thread.join()


def _memory(attributes: bytes) -> int:
    while len(attributes) >= _ATTRIBUTE.size:
        length, sort = _ATTRIBUTE.unpack_from(attributes)
        if sort == INET_DIAG_SKMEMINFO:
            received, _, _, _, ahead, queued, options, backlog = _MEMORY.unpack_from(
                attributes, _ATTRIBUTE.size
            )
            return int(received + ahead + queued + options + backlog)
        attributes = attributes[(length + 3) & ~3 :]
    return 0
