"""Receives the words behind `streamconductor load` · runs the plan they make and shows what it measured · owns the
options, and the exit code: 0, 1 for errors and expectations that failed, 2 for a wrong command, 130 after Ctrl-C.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..load import Check, Expectation, Plan, Publisher, Report, Scenario, run
from ..load.progress import Progress
from ..load.table import print_report
from ..units import duration, size
from .problems import Problem, told_in_one_line

__all__ = ["load"]

FAILED, INTERRUPTED = 1, 130


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} {error}") from None


def _size(text: str) -> int:
    try:
        return size(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} {error}") from None


def _expectation(text: str) -> Expectation:
    try:
        return Expectation.read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _seconds(help: str, *names: str) -> Any:
    return typer.Option(*names, parser=_duration, metavar="DURATION", help=help)


def load(
    scenario: Annotated[Scenario, typer.Argument(help="What the connections do.", show_default=False)],
    url: Annotated[str, typer.Argument(help="ws:// or wss://, with the path.", show_default=False)],
    *,
    connections: Annotated[
        int | None, typer.Option("--connections", "-c", help="Connections; of handshake openings at once.")
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(help="Closed loop: messages in flight, per connection in echo, else of the publisher."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            "-r",
            help="Open loop: messages a second of all together; of churn connections a second.",
        ),
    ] = None,
    message_size: Annotated[
        int, typer.Option("--size", parser=_size, metavar="BYTES", help="Bytes of a message.")
    ] = 128,
    message: Annotated[
        str | None, typer.Option(help="Template, with {seq}, {time}, {connection} and {pad}; @FILE reads it.")
    ] = None,
    binary: Annotated[bool, typer.Option("--binary", help="Send binary messages.")] = False,
    check: Annotated[Check, typer.Option(help="How closely what comes is looked at.")] = "exact",
    publisher: Annotated[Publisher, typer.Option(help="Who publishes what subscribers receive.")] = "control",
    control_path: Annotated[
        str, typer.Option(help="The path of the connection whose messages the server publishes.")
    ] = "/control",
    hello: Annotated[
        list[str] | None, typer.Option(help="Template of a message to send once open; repeat for more.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header; repeatable."),
    ] = None,
    subprotocol: Annotated[list[str] | None, typer.Option(help="A subprotocol to offer; repeatable.")] = None,
    compression: Annotated[bool, typer.Option("--compression", help="Offer permessage-deflate.")] = False,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificates to trust; else the system's.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", "-k", help="Trust any certificate.")] = False,
    tls_resume: Annotated[
        bool, typer.Option("--tls-resume", help="Resume TLS where the server lets us.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="An address to connect from; repeatable, in turn."),
    ] = None,
    connect_rate: Annotated[float | None, typer.Option(help="Connections opened a second.")] = None,
    connect_at_once: Annotated[int | None, typer.Option(help="Openings under way at once (100).")] = None,
    open_timeout: Annotated[float, _seconds("For one opening handshake.")] = 10.0,
    warm_up: Annotated[float, _seconds("Load before the window, not counted.")] = 1.0,
    seconds: Annotated[float, _seconds("The window.", "--seconds", "-s")] = 5.0,
    drain: Annotated[float, _seconds("For what is in flight at the end.")] = 10.0,
    pid: Annotated[
        list[int] | None, typer.Option("--pid", "-p", help="A process of the server; repeatable.")
    ] = None,
    ping_interval: Annotated[float | None, _seconds("idle: between two pings on a connection.")] = None,
    slow: Annotated[
        int | None, typer.Option(help="slow: how many of the connections are (every tenth).")
    ] = None,
    slow_rate: Annotated[
        int, typer.Option(parser=_size, metavar="BYTES", help="slow: what each reads a second; 0: nothing.")
    ] = 0,
    pause: Annotated[float, _seconds("reconnect-storm: from everybody back to the next cut.")] = 1.0,
    json_file: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write the report as JSON; - is standard output."),
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots, one file.")
    ] = None,
    expect: Annotated[
        list[Expectation] | None,
        typer.Option(
            parser=_expectation,
            metavar="CONDITION",
            help="Fail unless it holds: 'p99<50ms', 'errors=0'; repeatable.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Puts a WebSocket server under load, and says what its clients saw.

    Ctrl-C ends the load and reports what was measured so far.
    """
    with told_in_one_line():
        plan = Plan(
            scenario=scenario,
            url=url,
            connections=connections,
            in_flight=in_flight,
            rate=rate,
            size=message_size,
            message=_text(message),
            binary=binary,
            check=check,
            publisher=publisher,
            control_path=control_path,
            hello=[_text(text) or "" for text in hello or ()],
            headers=[_header(text) for text in header or ()],
            subprotocols=subprotocol or (),
            compression=compression,
            ca=_authorities(ca, url, insecure),
            insecure=insecure,
            tls_resume=tls_resume,
            sources=source or (),
            connect_rate=connect_rate,
            connect_at_once=connect_at_once,
            open_timeout=open_timeout,
            warm_up=warm_up,
            seconds=seconds,
            drain=drain,
            pids=pid or (),
            ping_interval=ping_interval,
            slow=slow,
            slow_rate=slow_rate,
            pause=pause,
        )
        write_html = _html_writer(html_file)
        try:
            with Progress(plan, is_shown=not quiet) as progress:
                report = run(plan, progress.show)
        except ValueError as error:
            raise Problem(str(error)) from None
        if not quiet:
            print_report(report, to_stderr=json_file == "-")
        _write_json(report, json_file)
        write_html(report)
        code = _judge(report, expect or [])
    if code:
        raise typer.Exit(code)


def _judge(report: Report, expectations: list[Expectation]) -> int:
    """Says what failed; the exit code."""
    problems = [problem for each in expectations if (problem := each.problem(report)) is not None]
    # Whoever says how many errors there may be has the last word on them.
    if report.errors and not any(each.name in {"errors", "lost"} for each in expectations):
        first = report.faults.texts[0] if report.faults.texts else f"{report.lost} messages never came"
        problems.append(f"{report.errors} errors; the first: {first}")
    for problem in problems:
        print(f"streamconductor: {problem}", file=sys.stderr)
    if report.is_interrupted:
        return INTERRUPTED
    return FAILED if problems else 0


def _write_json(report: Report, file: str | None) -> None:
    if file == "-":
        print(report.to_json())
    elif file is not None:
        Path(file).write_text(report.to_json() + "\n")


def _html_writer(file: Path | None) -> Any:
    """What writes the report with plots; says before the run, not after it, when it cannot be drawn."""
    if file is None:
        return lambda report: None
    try:
        from ..load.html import html
    except ImportError as error:
        raise Problem(f"--html needs {error.name}: pip install streamconductor[plots]") from None
    return lambda report: file.write_text(html(report))


def _text(text: str | None) -> str | None:
    if text is not None and text.startswith("@"):
        return Path(text[1:]).read_text().rstrip("\n")
    return text


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise Problem(f"--header {text!r} is no header; write 'Name: value'")
    return name.strip(), value.strip()


def _authorities(ca: Path | None, url: str, insecure: bool) -> str | None:
    if ca is not None or insecure or not url.startswith("wss://"):
        return None if ca is None else str(ca)
    return ssl.get_default_verify_paths().cafile
