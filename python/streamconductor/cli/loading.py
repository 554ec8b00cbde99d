"""Receives ``module:server`` · imports it and hands back the server · owns what is said when that fails."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from ..config_problems import nearest
from ..errors import StreamConductorError
from ..server import Server
from .problems import Problem

__all__ = ["load_server"]


def load_server(target: str) -> Server:
    """Imports a server, looking in the current directory first.

    Args:
        target: ``module:server``, where `server` is a `Server`, or is called without arguments and returns one.

    Raises:
        Problem: there is no such thing, or it raised.
        ConfigError: its configuration breaks a promise.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not attribute or module_name.endswith(".py") or "/" in module_name:
        suggestion = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise Problem(
            f"{target} does not name a server; write module:server, such as {suggestion or 'app'}:server"
        )
    module = _import(module_name)
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise Problem(f"{module_name} has no {attribute}; {_suggestion(module_name, module, attribute)}")
        found = getattr(found, name)
    if not isinstance(found, Server) and callable(found):
        try:
            found = found()
        except StreamConductorError:
            raise
        except Exception as error:
            raise Problem(f"calling {target} raised {_described(error)}") from error
    if not isinstance(found, Server):
        kind = type(found).__name__
        raise Problem(f"{target} is no streamconductor.Server but {kind}; name a Server, or what returns one")
    return found


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except StreamConductorError:
        raise
    except ModuleNotFoundError as error:
        # Not the module itself but something that it imports: an error like any other.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise Problem(f"importing {name} raised {_described(error)}") from error
        raise Problem(
            f"there is no module {error.name} in {here}; start it in the directory that has it"
        ) from None
    except Exception as error:
        raise Problem(f"importing {name} raised {_described(error)}") from error


def _suggestion(module_name: str, module: ModuleType, attribute: str) -> str:
    servers = [name for name, value in vars(module).items() if isinstance(value, Server)]
    if not servers:
        return "it holds no streamconductor.Server"
    return f"did you mean {module_name}:{nearest(attribute, servers)}?"


def _described(error: BaseException) -> str:
    """The error and the line that raised it."""
    kind, text = type(error).__name__, " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    # A syntax error names its own place.
    return f"{kind}: {text}" if isinstance(error, SyntaxError) else f"{kind}: {text}{where}"
