"""Receives the fields of `Config` · hands out an option of the command line for each · owns their spelling and
help, so that a new field needs no line here.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from ..config import Config

__all__ = ["setting_parameters"]

# What cannot be written on a command line.
_CALLABLES = frozenset({"encoder"})

_METAVARS = {"bytes": "SIZE", "seconds": "DURATION", "port number": "PORT", "path": "PATH", "paths": "PATH,…"}


def setting_parameters() -> list[inspect.Parameter]:
    """A keyword parameter for each setting, as typer reads them. Values stay text: `Config` reads and checks them,
    as it does those of the environment.
    """
    fields = Config.model_fields.items()
    return [_parameter(name, field) for name, field in fields if name not in _CALLABLES]


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    facts: Any = field.json_schema_extra
    unit, default = facts["unit"], facts["default"]
    option = typer.Option(
        "--" + name.replace("_", "-"),
        help=f"{facts['bounds']}. Default: {default}.",
        metavar=_METAVARS.get(unit, "NUMBER" if field.annotation is int else "TEXT"),
        show_default=False,
    )
    annotation = Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
