"""`python -m examples.demo`: reads the command line, runs the demo until it is interrupted."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from pathlib import Path

import streamconductor as sc

from .app import run
from .certificate import NoCertificate, certificate
from .slow import MAX_READERS


def main() -> None:
    """Parses the arguments and serves."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on, 0: any (default: 8000)")
    parser.add_argument(
        "--file",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="show its new lines; repeatable",
    )
    parser.add_argument(
        "--slow",
        type=int,
        default=0,
        metavar="N",
        help=f"start with N readers that stall, at most {MAX_READERS}",
    )
    parser.add_argument(
        "--ping-interval", type=float, default=10.0, metavar="SECONDS", help="heartbeat (default: 10)"
    )
    parser.add_argument(
        "--tls", action="store_true", help="https and wss, with a certificate made now by openssl"
    )
    arguments = parser.parse_args()
    if not 0 <= arguments.slow <= MAX_READERS:
        parser.error(f"--slow {arguments.slow}: 0 to {MAX_READERS} readers")
    if not 0 <= arguments.port <= 65_535:
        parser.error(f"--port {arguments.port}: 0 to 65535")
    for path in arguments.file:
        if path.is_dir():
            parser.error(f"--file {path}: a directory; name a file")
    with contextlib.suppress(KeyboardInterrupt):
        try:
            with certificate(arguments.host) if arguments.tls else contextlib.nullcontext() as files:
                asyncio.run(
                    run(
                        arguments.host,
                        arguments.port,
                        arguments.file,
                        arguments.slow,
                        arguments.ping_interval,
                        files,
                    )
                )
        except NoCertificate as error:
            parser.exit(1, f"{error}\n")
        except sc.BindError as error:
            parser.exit(1, f"{error.strerror}: {error.filename}; choose another port (make serve PORT=…)\n")


if __name__ == "__main__":
    main()
