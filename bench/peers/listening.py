"""Receives a server's command line · hands out its options, a listening socket and its first line · owns what every
server in Python has in common.

A server takes `--compression` (permessage-deflate without context takeover) and otherwise compresses nothing. Its
first line is its port and its process id; what it logs goes to standard error. Its paths:

/echo           every message comes back, by the server's usual form of a handler
/echo-callback  the same by a plain function, where the server knows such a form
/fanout         receives every message that comes on /control, and says nothing
/control        its messages are published as they are
/idle           nothing
"""

from __future__ import annotations

import argparse
import os
import socket

BACKLOG = 4096


def options() -> argparse.Namespace:
    """What the command line says."""
    return parser().parse_args()


def parser() -> argparse.ArgumentParser:
    """What every server takes; one that takes more adds it."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--compression", action="store_true", help="permessage-deflate, if the client offers it"
    )
    return parser


def listening() -> socket.socket:
    """A socket on a free port of the loopback address."""
    listener = socket.socket()
    listener.setblocking(False)
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    return listener


def announce(port: int) -> None:
    """The first line."""
    print(port, os.getpid(), flush=True)
