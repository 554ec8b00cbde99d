"""Receives a contender of a row · hands out its figures · owns one measurement: a server of its own, load, the end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from bench import load
from bench.contenders import Contender
from bench.environments import ALL
from bench.kernel_memory import watching
from bench.load import Span
from bench.machine import Cores
from bench.rows import Row
from bench.serving import serving

KERNEL = "server_kernel_bytes"
REHEARSAL = Span(0.1, 0.0)


def measure(row: Row, contender: Contender, cores: Cores, span: Span) -> dict[str, float]:
    """One measurement.

    Raises:
        ServerError: the server did not start.
        LoadError: it did not do what it was asked.
    """
    with serving(ALL[contender.peer], contender.server, cores.server) as server:
        at = load.Target(server.port, contender.path, server.processes(), cores.client, contender.scheme)
        try:
            if row.rehearsal:
                load.run(at, row.scenario, [*contender.load, "--connections", str(row.rehearsal)], REHEARSAL)
            with watching(server.port) if KERNEL in row.shown else nullcontext() as most:
                report = load.run(
                    at,
                    contender.scenario or row.scenario,
                    [*row.load, *contender.load],
                    Span(row.seconds or span.seconds, max(row.warm_up, span.warm_up)),
                )
            if most is not None and (held := most()) is not None:
                report[KERNEL] = held
        except load.LoadError as error:
            said = server.said()
            raise load.LoadError(
                f"{error}; the server said: {said.splitlines()[-1]}" if said else str(error)
            ) from None
    return _figures(report)


def _figures(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report, and what follows from them."""
    figures = {name: value for name, value in report.items() if _is_number(value)}
    for part in ("opening", "slow", "server_pings"):
        figures |= {
            f"{part}.{name}": value for name, value in report.get(part, {}).items() if _is_number(value)
        }
    for name, before, each in (
        ("rss_bytes", "rss_before_bytes", "bytes_per_connection"),
        ("kernel_socket_bytes", "kernel_socket_before_bytes", "kernel_bytes_per_connection"),
    ):
        if name in figures and before in figures and figures.get("connections"):
            figures[each] = (figures[name] - figures[before]) / figures["connections"]
    return figures


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
