"""Receives a number of rounds · hands out a table of what a message costs this server and `websockets` · owns
the order of the runs, the pinning and the gates.

Every round starts both servers afresh on one core and runs, from another core, each scenario against one
server after the other. Ratios are taken within a round, where the machine was most nearly the same, and their
median is quoted. See README.md for the method and its bias.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / "peers"
OURS, THEIRS = "streamconductor", "websockets"
FANOUT_SUBSCRIBERS, ECHO_CONNECTIONS, SIZE = 1000, 100, 128


@dataclass(frozen=True)
class Scenario:
    """One row group of the table, and the ratio of CPU per message to `websockets` that a gate asks for."""

    name: str
    words: tuple[str, ...]
    servers: tuple[tuple[str, str, str], ...]  # name in the table, server, path
    largest_ratio: float | None = None


def _fanout(in_flight: int) -> tuple[str, ...]:
    return ("fanout", "--connections", str(FANOUT_SUBSCRIBERS), "--in-flight", str(in_flight))


_FANOUT_SERVERS = ((THEIRS, THEIRS, "/fanout"), (OURS, OURS, "/fanout"))
SCENARIOS = (
    Scenario("fan-out, saturated", _fanout(16), _FANOUT_SERVERS, largest_ratio=1 / 8),
    Scenario("fan-out, sparse", _fanout(1), _FANOUT_SERVERS),
    Scenario(
        "echo",
        ("echo", "--connections", str(ECHO_CONNECTIONS)),
        (
            (THEIRS, THEIRS, "/echo"),
            (f"{OURS}, async for", OURS, "/echo"),
            (f"{OURS}, callback", OURS, "/echo-callback"),
        ),
        largest_ratio=0.5,
    ),
)


@dataclass(frozen=True)
class Cores:
    """Where server and client run; None: wherever the system puts them."""

    server: int | None
    client: int | None

    @classmethod
    def choose(cls) -> Cores:
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[1]) if len(cores) > 1 else cls(None, None)


def pinned(core: int | None) -> Any:
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def running(name: str, core: int | None) -> Iterator[tuple[int, int]]:
    """A server, for as long as the context lasts: its process id and port."""
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [sys.executable, str(PEERS / f"{name}_server.py")],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=pinned(core),
        )
        try:
            assert server.stdout is not None
            first = server.stdout.readline().strip()
            if not first.isdigit():
                server.wait(10)
                log.seek(0)
                sys.exit(f"the {name} server did not start:\n{log.read()}")
            yield server.pid, int(first)
        except LoadError:
            log.seek(0)
            print(f"what the {name} server said:\n{log.read()[-4000:]}", file=sys.stderr)
            raise
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


class LoadError(Exception):
    """The load client did not get what it was due."""


def measure(load: Path, words: list[str], core: int | None) -> dict[str, Any]:
    """One run of the load client."""
    done = subprocess.run([str(load), *words], capture_output=True, text=True, preexec_fn=pinned(core))
    if done.returncode:
        raise LoadError(f"{load.name} {' '.join(words)}: {done.stderr.strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def run(rounds: int, seconds: float, warm_up: float, load: Path, cores: Cores) -> list[dict[str, Any]]:
    """All rounds; one record per run."""
    records = []
    for number in range(1, rounds + 1):
        began = time.monotonic()
        with running(THEIRS, cores.server) as theirs, running(OURS, cores.server) as ours:
            started = {THEIRS: theirs, OURS: ours}
            for scenario in SCENARIOS:
                for name, server, path in scenario.servers:
                    pid, port = started[server]
                    words = [*scenario.words, "--path", path, "--port", str(port), "--pid", str(pid)]
                    words += ["--size", str(SIZE), "--seconds", str(seconds), "--warm-up", str(warm_up)]
                    report = measure(load, words, cores.client)
                    records.append({**report, "round": number, "scenario": scenario.name, "server": name})
                    print(
                        f"round {number}/{rounds}  {scenario.name:<20} {name:<27}"
                        f"{report['cpu_us_per_message']:>9.3f} µs",
                        file=sys.stderr,
                    )
        print(f"round {number}/{rounds} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return records


def summarize(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per scenario and server: medians over the rounds."""
    rows = []
    for scenario in SCENARIOS:
        base = _by_round(records, scenario.name, THEIRS)
        for name, _, _ in scenario.servers:
            mine = _by_round(records, scenario.name, name)
            ratios = [mine[n]["cpu_us_per_message"] / base[n]["cpu_us_per_message"] for n in mine]
            row: dict[str, Any] = {"scenario": scenario.name, "server": name}
            for figure in (
                "cpu_us_per_message",
                "messages_per_second",
                "p50_us",
                "p99_us",
                "server_load",
                "client_load",
            ):
                row[figure] = statistics.median(report[figure] for report in mine.values())
            row["messages_per_cpu_second"] = 1e6 / row["cpu_us_per_message"]
            row["cpu_ratio"] = statistics.median(ratios)
            row["cpu_ratio_least"], row["cpu_ratio_most"] = min(ratios), max(ratios)
            rows.append(row)
    return rows


def _by_round(records: list[dict[str, Any]], scenario: str, server: str) -> dict[int, dict[str, Any]]:
    return {r["round"]: r for r in records if r["scenario"] == scenario and r["server"] == server}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| work | server | CPU µs per message | messages per CPU second "
        "| CPU ratio to websockets (least–most) | messages/s | p50 ms | p99 ms | load of server, client |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        ratio = f"{row['cpu_ratio']:.3f} ({row['cpu_ratio_least']:.3f}–{row['cpu_ratio_most']:.3f})"
        lines.append(
            f"| {row['scenario']} | {row['server']} | {row['cpu_us_per_message']:.3f} "
            f"| {row['messages_per_cpu_second']:,.0f} | {'1' if row['server'] == THEIRS else ratio} "
            f"| {row['messages_per_second']:,.0f} | {row['p50_us'] / 1000:.2f} | {row['p99_us'] / 1000:.2f} "
            f"| {row['server_load']:.2f}, {row['client_load']:.2f} |"
        )
    return "\n".join(lines)


def failures(rows: list[dict[str, Any]]) -> list[str]:
    """The gates that do not hold."""
    largest = {scenario.name: scenario.largest_ratio for scenario in SCENARIOS}
    found = []
    for row in rows:
        limit = largest[row["scenario"]]
        if row["server"] != THEIRS and limit is not None and row["cpu_ratio"] > limit:
            found.append(
                f"{row['scenario']}, {row['server']}: {row['cpu_ratio']:.3f} of websockets' CPU per message, "
                f"at most {limit:.3f} is the gate"
            )
    return found


def machine_card(cores: Cores) -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    pinned = "not pinned" if cores.server is None else f"server on {cores.server}, client on {cores.client}"
    card: dict[str, Any] = {
        "cpu": model,
        "cores": os.cpu_count(),
        "pinning": pinned,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    card |= {name: version(name) for name in (OURS, THEIRS, "uvloop")}
    with contextlib.suppress(OSError):
        congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
        card["congestion control"] = congestion.read_text().strip()
    if hasattr(os, "getloadavg"):
        card["load average at start"] = round(os.getloadavg()[0], 2)
    return card


def load_client() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
    return target / "release" / "streamconductor-load"


def raise_file_limit() -> None:
    """A thousand sockets on either side are more than some systems allow by default."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(description="A short comparison with websockets on this machine.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds of each run (2)")
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds of load before them (0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write card, rows and every run there")
    parser.add_argument("--gate", action="store_true", help="fail when a ratio is worse than its gate")
    parser.add_argument("--load", type=Path, default=load_client(), help="the load client (%(default)s)")
    options = parser.parse_args()
    if not options.load.exists():
        sys.exit(f"{options.load} is not there: cargo build --release -p streamconductor-load")

    raise_file_limit()
    cores = Cores.choose()
    card = machine_card(cores)
    try:
        records = run(options.rounds, options.seconds, options.warm_up, options.load, cores)
    except LoadError as error:
        sys.exit(str(error))
    rows = summarize(records)
    failed = failures(rows)

    print(", ".join(f"{name} {value}" for name, value in card.items()))
    print(f"{options.rounds} rounds of {options.seconds} s, {SIZE}-byte text messages, medians")
    print()
    print(table(rows))
    for line in failed:
        print(f"gate: {line}")
    if options.json is not None:
        document = {"machine": card, "rows": rows, "runs": records, "failed_gates": failed}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.gate and failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
