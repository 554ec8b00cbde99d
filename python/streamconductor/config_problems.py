"""Receives what pydantic finds wrong with settings · hands out one line for each: field, value, limit, fix ·
owns the wording, and the guess at what a mistyped name was meant to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .units import LONGEST, format_duration, format_size

__all__ = ["nearest", "problems_of"]

_LARGEST = 2**63
_LONGEST_TEXT = 200

_BOUNDS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be above"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be below"),
}


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that is most like `name`."""
    return get_close_matches(name, names, n=1, cutoff=0.0)[0]


def problems_of(error: ValidationError, fields: Mapping[str, FieldInfo]) -> list[str]:
    """One line for each malformed or unknown field."""
    # A default that could not be computed follows from a field that has its own line.
    found = [details for details in error.errors() if details["type"] != "default_factory_not_called"]
    return [_problem(details, fields) for details in found]


def _problem(details: ErrorDetails, fields: Mapping[str, FieldInfo]) -> str:
    name, value, context = str(details["loc"][0]), details["input"], details.get("ctx", {})
    if details["type"] == "extra_forbidden":
        return f"{name} is no setting; the nearest is {nearest(name, fields)}"
    shown = f"{name} = {_written(value, fields[name]) if fields[name].repr else '(hidden)'}"
    if value is None:
        return f"{shown}: it cannot be off; leave it out for its default"
    if details["type"] in _BOUNDS:
        key, words = _BOUNDS[details["type"]]
        return f"{shown} {words} {_written(context[key], fields[name])}; set {name} within this limit"
    if details["type"] == "value_error":
        return f"{shown} {context['error']}"
    if details["type"] == "literal_error":
        return f"{shown} must be one of {context['expected']}; choose one of them"
    problem = details["msg"]
    return f"{shown}: {problem[0].lower()}{problem[1:]}; see Config.{name}"


def _written(value: object, field: FieldInfo) -> str:
    match field.json_schema_extra, value:
        case {"unit": "seconds"}, int() | float() if -LONGEST <= value <= LONGEST:
            return format_duration(value)
        case {"unit": "bytes"}, int() if abs(value) <= _LARGEST:
            return format_size(value)
    return _clipped(value)


def _clipped(value: object) -> str:
    """The value as Python writes it, as far as it can be of use in a line."""
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
