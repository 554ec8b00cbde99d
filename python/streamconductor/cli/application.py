"""Receives the words of the command line · runs the command they name · owns what commands and options there are."""

from __future__ import annotations

import inspect
import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .._core import __version__
from ..running import serve_until_stopped
from .banner import announce
from .gateway import ADMIN_PORT, gateway
from .hangup import reread
from .lifecycle import Form, lifecycle
from .load import load
from .loading import load_server
from .logs import set_up
from .options import setting_parameters
from .problems import told_in_one_line
from .reload import Reloader
from .settings import Settings

__all__ = ["application"]

logger = logging.getLogger("streamconductor.cli")

application = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


class LogFormat(StrEnum):
    """How log records are written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The lowest level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _print_version(asked: bool) -> None:
    if asked:
        print(f"streamconductor {__version__}")
        raise typer.Exit


@application.callback()
def streamconductor(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Conducts WebSocket streams from a Python backend to browsers."""


def _serve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:SERVER]", help="A Server, or what returns one. Without it: a plain gateway."
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="A TOML file of settings, read again at SIGHUP."),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a file of the module changes.")
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option(help="One line of text, or one JSON object, per record.")
    ] = (LogFormat.TEXT),
    log_level: Annotated[LogLevel, typer.Option(help="The lowest level that is written.")] = LogLevel.INFO,
    uvloop: Annotated[
        bool | None,
        typer.Option("--uvloop/--no-uvloop", help="Default: when it is installed.", show_default=False),
    ] = None,
    **settings: Any,
) -> None:
    """Serves until SIGTERM or SIGINT: the first ends gracefully, a second one at once.

    Without a module it is a gateway: GET /channels/<name>, upgraded, subscribes, and POST /channels/<name> on the
    admin address publishes.
    """
    set_up(log_format, log_level)
    command_line = {name: value for name, value in settings.items() if value is not None}
    with told_in_one_line(log_format):
        if reload:
            again = [word for word in sys.argv[1:] if word != "--reload"]
            Reloader([sys.executable, "-m", "streamconductor", *again], target, config).run()
            return
        if target is None:
            sources = Settings(config, command_line, fallback={"admin_port": ADMIN_PORT})
            server = gateway(sources.read())
        else:
            server = load_server(target)
            sources = Settings(config, command_line, server.config)
            server.config = sources.read()
        serve_until_stopped(
            server,
            uvloop=uvloop,
            on_start=lambda: announce(server, log_format),
            on_hangup=lambda: reread(server, sources),
        )


def _with_settings(command: Any) -> Any:
    """The command with an option for every setting in place of its ``**settings``, as typer reads signatures."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *setting_parameters()])
    return command


application.command("serve")(_with_settings(_serve))


@application.command("lifecycle")
def _lifecycle(
    form: Annotated[Form, typer.Option("--format", help="How it is written.")] = Form.TEXT,
    *,
    client: Annotated[
        bool | None,
        typer.Option(
            "--client/--server", help="Only connections that we open, or only those that we accept."
        ),
    ] = None,
) -> None:
    """Prints the life of a connection from the table that the shards and links execute."""
    print(lifecycle(form, client=client))


application.command("load")(load)
