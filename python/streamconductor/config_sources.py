"""Receives the environment and a TOML file · hands their settings to `Config`, below its keywords · owns the
names of variables and the telling of a mistyped name from what Kubernetes injects.
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from .config_problems import nearest
from .errors import ConfigError, ConfigWarning

__all__ = ["PREFIX", "READING", "EnvironmentSource", "FileSource", "Reading"]

PREFIX = "STREAMCONDUCTOR_"

# What the kubelet sets for each port of a Service (here one named streamconductor, or
# streamconductor-<something>): <SERVICE>_SERVICE_HOST, _SERVICE_PORT, _SERVICE_PORT_<NAME>, _PORT,
# _PORT_<n>_TCP and its _PROTO, _PORT, _ADDR.
_KUBERNETES = re.compile(
    r"STREAMCONDUCTOR_(\w+_)?"
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True)
class Reading:
    """Which sources a `Config` under construction reads besides its keywords."""

    environment: bool = True
    file: Path | None = None


_KEYWORDS_AND_ENVIRONMENT = Reading()
READING: ContextVar[Reading] = ContextVar("streamconductor_reading", default=_KEYWORDS_AND_ENVIRONMENT)
"""pydantic-settings makes its sources inside `__init__`, so this is how `load` and `replace` tell it
which."""


class _Source(PydanticBaseSettingsSource):
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value = self().get(field_name)
        return value, field_name, False


class EnvironmentSource(_Source):
    """`STREAMCONDUCTOR_<FIELD>`, with "none" and "off" for None."""

    def __init__(self, settings: type[BaseSettings], environment: Mapping[str, str] | None = None) -> None:
        super().__init__(settings)
        self._environment = os.environ if environment is None else environment

    def __call__(self) -> dict[str, Any]:
        """The settings that stand in the environment."""
        known = {PREFIX + name.upper(): name for name in self.settings_cls.model_fields}
        values: dict[str, Any] = {}
        injected, problems = [], []
        for variable, value in self._environment.items():
            if not variable.startswith(PREFIX):
                continue
            if _KUBERNETES.fullmatch(variable) or (
                variable.endswith("_PORT") and _KUBERNETES_ADDRESS.match(value)
            ):
                injected.append(variable)
            elif variable in known:
                values[known[variable]] = _off(value)
            else:
                problems.append(
                    f"variable {variable} is no setting; the nearest is {nearest(variable, known)}"
                )
        if problems:
            raise ConfigError(problems)
        if injected:
            warnings.warn(
                f"ignored what Kubernetes injects for a Service of this name: {', '.join(sorted(injected))}; "
                "set enableServiceLinks: false in the pod to be rid of them",
                ConfigWarning,
                stacklevel=2,
            )
        return values


class FileSource(_Source):
    """The top level of a TOML file, with "none" and "off" for None, which TOML lacks."""

    def __init__(self, settings: type[BaseSettings], file: Path) -> None:
        super().__init__(settings)
        self._file = file

    def __call__(self) -> dict[str, Any]:
        """The settings that stand in the file."""
        try:
            with self._file.open("rb") as stream:
                values = tomllib.load(stream)
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError([f"configuration file {self._file} cannot be read: {error}"]) from error
        known = self.settings_cls.model_fields
        if problems := [
            f"key {key} in {self._file} is no setting; the nearest is {nearest(key, known)}"
            for key in values
            if key not in known
        ]:
            raise ConfigError(problems)
        return {key: _off(value) for key, value in values.items()}


def _off(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in {"none", "off"} else value
