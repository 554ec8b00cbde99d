"""Receives a report · prints it as a table · owns its rows and how numbers are written for people."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from .report import Report

__all__ = ["print_report", "rows"]

_MESSAGES = {
    "echo": "round trips",
    "fanout": "deliveries",
    "slow": "deliveries to the others",
    "idle": "pongs",
    "handshake": "opening handshakes",
    "churn": "connections that came",
    "reconnect-storm": "connections that came back",
}


def rows(report: Report) -> list[tuple[str, str]]:
    """What a report says, figure by figure; what was not measured is left out."""
    found = [
        (_MESSAGES[report.scenario], f"{report.messages:,} in {report.seconds:.2f} s"),
        ("throughput", f"{report.messages_per_second:,.0f} /s"),
    ]
    for name in ("p50", "p90", "p99", "p999", "max"):
        value: float | None = getattr(report, f"{name}_us")
        if value is not None:
            found.append((f"latency {name.replace('p999', 'p99.9')}", milliseconds(value)))
    if report.cpu_us_per_message is not None:
        found.append(("server CPU per message", f"{report.cpu_us_per_message:.3f} µs"))
    if report.server_load is not None:
        found.append(("server CPU", f"{report.server_load:.2f} cores"))
    if report.client_load is not None:
        hint = "  (the load generator is the bottleneck)" if report.client_load > 0.9 else ""
        found.append(("client CPU", f"{report.client_load:.2f} of a core{hint}"))
    if report.late_us is not None:
        found.append(("sent late, at most", milliseconds(report.late_us)))
    found.append(("connections", f"{report.connections:,} at the end of {report.opening.opened:,} opened"))
    if report.opening.p99_us is not None:
        opening = report.opening
        found.append(
            (
                "opening handshake",
                f"p50 {milliseconds(opening.p50_us or 0)}, p99 {milliseconds(opening.p99_us or 0)}",
            )
        )
    found += _memory(report)
    if report.slow is not None:
        slow = report.slow
        found.append(
            (
                "slow connections",
                f"{slow.connections:,}, of which the server ended {slow.ended:,}; {slow.messages:,} received",
            )
        )
    if report.server_pings is not None and report.server_pings.received:
        pings = report.server_pings
        spread = (
            ""
            if pings.p50_us is None
            else f", every {pings.p50_us / 1e6:.2f} s, p99 {(pings.p99_us or 0) / 1e6:.2f} s"
        )
        found.append(("pings by the server", f"{pings.received:,}{spread}"))
    if report.storm is not None:
        times = ", ".join(f"{seconds:.3f} s" for seconds in report.storm.all_back_seconds) or "never"
        found.append(("all back after", f"{times}; {report.storm.retries:,} retries"))
    faults = report.faults
    sorts = {
        name: getattr(faults, name)
        for name in ("refused", "timed_out", "ended", "violations", "wrong", "lost")
    }
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in sorts.items() if count)
    found.append(("errors", f"{report.errors:,}" + (f" ({told})" if told else "")))
    return found


def _memory(report: Report) -> list[tuple[str, str]]:
    found = []
    pairs = (
        ("server RSS", report.rss_bytes, report.rss_before_bytes),
        ("kernel sockets", report.kernel_socket_bytes, report.kernel_socket_before_bytes),
    )
    for name, after, before in pairs:
        if after is not None and before is not None:
            each = (
                f", {(after - before) / report.connections / 1024:,.2f} KiB a connection"
                if report.connections
                else ""
            )
            found.append((name, f"{after / 2**20:,.1f} MiB, {before / 2**20:,.1f} before{each}"))
    return found


def milliseconds(micros: float) -> str:
    """Microseconds as people read them."""
    return f"{micros / 1e6:,.3f} s" if micros >= 1e6 else f"{micros / 1e3:,.3f} ms"


def print_report(report: Report, *, to_stderr: bool) -> None:
    """Prints the table, and the first errors below it."""
    table = Table.grid(padding=(0, 2))
    for row in rows(report):
        table.add_row(*row)
    console = Console(file=sys.stderr if to_stderr else sys.stdout, highlight=False)
    if report.is_interrupted:
        console.print("interrupted: what was measured until then")
    console.print(table)
    for text in report.faults.texts:
        console.print(f"error: {text}", markup=False)
