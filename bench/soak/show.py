"""Receives the report of a soak · hands it to a reader · owns its words and its small plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60
CROWDED = (
    "; whoever does not run for so long is a slow reader or misses its handshake: what is wrong below may be the "
    "machine's fault, which had no core for each side"
)


def plot(values: Sequence[float], width: int = WIDTH) -> str:
    """One line of bars, each the mean of its part of the time, from the least to the most."""
    if not values:
        return ""
    width = min(width, len(values))
    parts = [
        values[len(values) * place // width : len(values) * (place + 1) // width] for place in range(width)
    ]
    means = [sum(part) / len(part) for part in parts]
    least, most = min(means), max(means)
    scale = (len(BARS) - 1) / (most - least) if most > least else 0
    return "".join(BARS[round((mean - least) * scale)] for mean in means)


def show(report: dict[str, Any], console: Console) -> None:
    """Prints what a soak found."""
    ledger, books, memory = report["ledger"], report["books"], report["memory"]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "under load": f"{report['seconds']:.0f} s, seed {report['seed']}",
        "connections": f"{report['connections']:,} held, {report['tls']:,} of them under TLS; {ledger['opened']:,} "
        f"opened, {ledger['closed']:,} closed, {ledger['abandoned']:,} reset or vanished, {ledger['cut']:,} closed "
        f"as slow, {ledger['moved']:,} moved to other channels, {ledger['stalled']:,} stalls"
        + (f", {ledger['excused']:,} ended because one side did not run" if ledger["excused"] else ""),
        "deliveries": f"{ledger['delivered']:,} publications and {ledger['echoed']:,} echoes received, "
        f"{report['deliveries_per_second']:,.0f}/s in the median; {books['published']:,} publications",
        "ledger": f"{ledger['lost']} lost, {ledger['duplicated']} duplicated, {ledger['reordered']} reordered, "
        f"{ledger['corrupted']} corrupted, {ledger['misdirected']} misdirected",
        "compared": f"{ledger['compared']:,} connections with what the server says of them, {ledger['dropped']:,} "
        "drops by policy accounted for",
        "conservation": f"{books['accepted']:,} accepted = {books['written']:,} written + "
        f"{sum(books['dropped'].values()):,} dropped + {books['discarded']:,} discarded + {books['pending']} pending",
        "endings": ", ".join(f"{name} {count:,}" for name, count in books["endings"].items()),
        "load": f"server {report['server_load']:.2f} of a core, client {report['client_load']:.2f}; "
        f"{books['pings']:,} pings",
        "late": f"publisher at most {report['late_seconds']:.2f} s, client {report['client_late_seconds']:.2f} s"
        + (
            CROWDED
            if ledger["violations"] and max(report["late_seconds"], report["client_late_seconds"]) > 1
            else ""
        ),
        "memory": f"{memory['before_mib']:.1f} MiB before, {memory['peak_mib']:.1f} at most, "
        f"{memory['after_mib']:.1f} after; slope {memory['slope_mib_per_hour']:+.1f} MiB an hour, "
        + (
            f"{memory['bound_mib_per_hour']:.0f} allowed"
            if memory["is_judged"]
            else "not judged, for the run was too short"
        ),
        "its ledger": f"{memory['ledger_before']:,} bytes before, {memory['ledger_after']:,} after",
        "descriptors": f"{report['descriptors_before']} before, {report['descriptors_after']} after, at most "
        f"{report['descriptors_beyond']} beyond one for each connection",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    samples = report["samples"]
    for name, figure, unit in (
        ("deliveries", "deliveries_per_second", "/s"),
        ("memory", "resident_mib", " MiB"),
        ("server's load", "server_load", ""),
    ):
        values = [sample[figure] for sample in samples]
        if values:
            digits = 0 if unit == "/s" else 2
            table.add_row(
                name, f"{plot(values)} {min(values):,.{digits}f} to {max(values):,.{digits}f}{unit}"
            )
    console.print(table)
    for text in ledger["texts"]:
        console.print(f"violation: {text}", style="red", markup=False)
    if ledger["violations"] > len(ledger["texts"]):
        console.print(f"and {ledger['violations'] - len(ledger['texts'])} more", style="red")
    console.print("flawless" if ledger["violations"] == 0 else f"{ledger['violations']} violations")
