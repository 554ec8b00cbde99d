"""Receives a server that has started · tells where it listens and what limits it · owns the form of that.

On a terminal a panel, else plain lines; where logs are JSON, one record with the same facts.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from .._core import __version__
from ..server import Server
from .settings import written

__all__ = ["announce"]

logger = logging.getLogger("streamconductor.cli")

_LIMITS = (
    "threads",
    "max_connections",
    "max_message_size",
    "high_water",
    "max_buffered",
    "overflow",
    "memory_budget",
    "ping_interval",
    "idle_timeout",
    "shutdown_grace",
)


def announce(server: Server, log_format: str) -> None:
    """Says that it serves; call it on the server's loop."""
    found = facts(server)
    if log_format == "json":
        logger.info("serving", extra={"facts": found})
        return
    title = f"StreamConductor {__version__}"
    rows = [
        (name, " ".join(value) if isinstance(value, list) else str(value)) for name, value in found.items()
    ]
    console = Console()
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        console.print(Panel(table, title=title, title_align="left", expand=False))
        return
    print(title)
    for name, value in rows:
        print(f"  {name:<18}{value}")
    # A pipe is buffered, and whoever started us waits for this.
    print(end="", flush=True)


def facts(server: Server) -> dict[str, Any]:
    """What is bound, what is routed, and the effective limits."""
    found: dict[str, Any] = {"listening": addresses(server)}
    if server.admin_port is not None:
        found["admin"] = f"http://{_bracketed(server.config.admin_host)}:{server.admin_port}"
    found["routes"] = [route.pattern for route in server._routes]
    found["loop"] = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    found["process"] = os.getpid()
    found |= {name: written(server.config, name) for name in _LIMITS}
    # Derived from the machine's memory, and no round number.
    return found | {"memory_budget": f"{server.config.memory_budget / 2**30:.1f} GiB"}


def addresses(server: Server) -> list[str]:
    """The addresses that clients connect to."""
    if server.config.unix_socket is not None:
        return [f"unix:{server.config.unix_socket}"]
    scheme = "ws" if server.config.tls_certificate is None else "wss"
    return [f"{scheme}://{_bracketed(host)}:{port}" for host, port in server._running("addresses").addresses]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
