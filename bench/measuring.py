"""Receives a contender of a row · hands out its figures · owns one measurement: a server of its own, load on it, its end.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench import load
from bench.environments import ALL
from bench.machine import Cores
from bench.rows import Contender, Row
from bench.serving import serving


@dataclass(frozen=True)
class Span:
    """How long is measured, in seconds."""

    seconds: float
    warm_up: float


def measure(row: Row, contender: Contender, cores: Cores, span: Span) -> dict[str, float]:
    """One measurement.

    Raises:
        ServerError: the server did not start.
        LoadError: it did not do what it was asked.
    """
    with serving(ALL[contender.peer], contender.server, cores.server) as server:
        try:
            report = load.run(
                row.scenario,
                server.port,
                contender.path,
                [*row.load, *contender.load],
                processes=server.processes(),
                seconds=span.seconds if row.seconds is None else row.seconds,
                warm_up=span.warm_up,
                core=cores.client,
            )
        except load.LoadError as error:
            said = server.said()
            raise load.LoadError(f"{error}; the server said: {said.splitlines()[-1]}" if said else str(error)) from None
    return {name: value for name, value in report.items() if isinstance(value, int | float)}
