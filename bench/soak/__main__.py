"""Receives how long a soak shall last · hands out its report, and 1 where anything was wrong · owns the server
program and the client beside it, and the certificate between them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme
from rich.console import Console

from bench.environments import target
from bench.machine import Cores, card, pinned, raise_file_limit
from bench.soak.sabotage import SABOTEURS
from bench.soak.show import show

ROOT = Path(__file__).parents[2]

# Seconds that either side may take to end.
PATIENCE = 60.0


@contextlib.contextmanager
def program(words: list[str], core: int | None) -> Iterator[dict[str, int]]:
    """The server program, for as long as the context lasts: its process id and ports."""
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.soak.server", *words],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            preexec_fn=pinned(core),
        )
        try:
            assert server.stdout is not None
            first = server.stdout.readline()
            if first:
                yield json.loads(first)
            # It ends with its client, in peace; that is a part of the soak.
            if server.wait(PATIENCE) or not first:
                raise SystemExit(f"the server program ended with {server.returncode}")
        except BaseException:
            log.seek(0)
            print(f"what the server program said:\n{log.read()[-4000:]}", file=sys.stderr)
            raise
        finally:
            server.kill()
            server.wait()


@contextlib.contextmanager
def certificate(is_wanted: bool) -> Iterator[tuple[list[str], list[str]]]:
    """What to tell the server program and the client about TLS: files of an authority that lives as long as this."""
    if not is_wanted:
        yield [], []
        return
    with tempfile.TemporaryDirectory() as place:
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        trusted, chain, key = (Path(place, name) for name in ("authority.pem", "server.pem", "server.key"))
        authority.cert_pem.write_to_path(trusted)
        for number, blob in enumerate(leaf.cert_chain_pems):
            blob.write_to_path(chain, append=number > 0)
        leaf.private_key_pem.write_to_path(key)
        yield ["--tls-certificate", str(chain), "--tls-key", str(key)], ["--tls-certificate", str(trusted)]


def run(options: argparse.Namespace, cores: Cores) -> tuple[int, dict[str, Any]]:
    """One soak: the client's exit status and its report."""
    with certificate(options.tls) as (server_words, client_words):
        server_words += ["--threads", str(options.threads), "--sabotage", options.sabotage]
        with program(server_words, cores.server) as server:
            if options.tls:
                client_words += ["--tls-port", str(server["tls"])]
            figures = {
                "control-port": server["control"],
                "port": server["plain"],
                "pid": server["pid"],
                "connections": options.connections,
                "seconds": options.minutes * 60,
                "load": options.load,
                "churn": options.churn,
                "slope": options.slope,
                "seed": options.seed,
            }
            for name, value in figures.items():
                client_words += [f"--{name}", str(value)]
            done = subprocess.run(
                [str(options.client), "soak", *client_words],
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=pinned(cores.client),
            )
    if not done.stdout:
        raise SystemExit(f"the client ended with {done.returncode} and without a report")
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="under load (10)")
    parser.add_argument("--connections", type=int, default=2000, help="held, half of them under TLS (2000)")
    parser.add_argument(
        "--tls",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="half under TLS (yes)",
    )
    parser.add_argument("--threads", type=int, default=2, help="shards of each server (2)")
    parser.add_argument("--load", type=float, default=0.5, help="of a core, for the server process (0.5)")
    parser.add_argument(
        "--churn", type=float, default=20.0, help="connections a second that leave or move (20)"
    )
    parser.add_argument("--slope", type=float, default=30.0, help="MiB an hour that its memory may grow (30)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all random choices (the time)")
    parser.add_argument(
        "--sabotage", choices=sorted(SABOTEURS), default="none", help="what the server does wrong"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write card and report there")
    client = target() / "release" / "streamconductor-load"
    parser.add_argument("--client", type=Path, default=client, help="the load client (%(default)s)")
    options = parser.parse_args()
    if not options.client.exists():
        sys.exit(f"{options.client} is not there: cargo build --release -p streamconductor-load")

    raise_file_limit()
    cores = Cores.choose()
    machine = card(cores)
    status, report = run(options, cores)
    console = Console(highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    show(report, console)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine, "report": report}, indent=1) + "\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
