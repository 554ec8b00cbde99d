"""Receives the command line's settings, the configuration file and the program's own `Config` · hands out the
`Config` of all of them, again at each SIGHUP · owns their order: command line, keyword, environment, file, default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Config
from ..config_sources import EnvironmentSource
from ..errors import ConfigError
from ..units import format_duration, format_size

__all__ = ["Settings", "written"]


class Settings:
    """Where the settings come from.

    Args:
        file: the configuration file; `None`: none.
        command_line: what was given there, by field; text as it was written.
        program: the `Config` of the program's server; `None`: there is no program.
        fallback: what precedes only the defaults.
    """

    def __init__(
        self,
        file: Path | None,
        command_line: Mapping[str, str],
        program: Config | None = None,
        fallback: Mapping[str, Any] | None = None,
    ) -> None:
        self._file = file
        self._given: dict[str, Any] = {} if program is None else keywords_of(program)
        self._given |= {name: _read(value) for name, value in command_line.items()}
        self._fallback = fallback or {}

    def read(self) -> Config:
        """Reads all of them anew.

        Raises:
            ConfigError: as from `Config.load`.
        """
        config = Config.load(self._file, **self._given)
        missing = {
            name: value for name, value in self._fallback.items() if name not in config.model_fields_set
        }
        return config.replace(**missing) if missing else config


def keywords_of(config: Config) -> dict[str, Any]:
    """What a program gave its `Config` as keywords: what is set and was not read from the environment."""
    environment = EnvironmentSource(Config)()
    return {
        name: getattr(config, name)
        for name in config.model_fields_set
        if name not in environment or not _has(config, name, environment[name])
    }


def _has(config: Config, name: str, value: Any) -> bool:
    """Whether that field has this value, which may be text."""
    try:
        return bool(getattr(config.replace(**{name: value}), name) == getattr(config, name))
    except ConfigError:
        return False


def _read(value: str) -> str | None:
    return None if value.strip().lower() in {"none", "off"} else value


def written(config: Config, name: str) -> str:
    """A field's value as people write it; a secret is hidden."""
    value, field = getattr(config, name), Config.model_fields[name]
    if value is None:
        return "off"
    if not field.repr:
        return "(hidden)"
    match field.json_schema_extra, value:
        case {"unit": "seconds"}, int() | float():
            return format_duration(value)
        case {"unit": "bytes"}, int():
            return format_size(value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
