"""Receives messages from a connection · hands the objects of a model to the handler · owns the verdict on
what does not fit: the wrong type of message closes with 1003, invalid content with 1007.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Generic, NoReturn, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .close import MAX_REASON
from .encoder import installed
from .errors import InvalidMessage, WrongMessageType

__all__ = ["Validator"]

T = TypeVar("T")

msgspec = installed("msgspec")

# Where msgspec quotes what was sent: values, and names of fields that the model does not have.
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|(?<=unknown field )`[^`]*`")


class Validator(Generic[T]):
    """Makes objects of a model from JSON text; behind `connection.messages(Model)`.

    Args:
        model: a pydantic model, a dataclass, a `TypedDict`, any annotation that pydantic's `TypeAdapter`
            takes, a `TypeAdapter`, or a msgspec Struct when msgspec is installed.

    Raises:
        TypeError: pydantic cannot make a validator of it.
    """

    def __init__(self, model: type[T] | TypeAdapter[T]) -> None:
        self._struct: Any = None
        self._names: frozenset[str] | None = None
        if msgspec is not None and isinstance(model, type) and issubclass(model, msgspec.Struct):
            self._struct = msgspec.json.Decoder(model)
            return
        try:
            self._adapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
        except Exception as error:
            raise TypeError(f"messages() needs a model, and {model!r} is none: {error}") from error

    def validate(self, message: str | bytes) -> T:
        """Makes the object of one message.

        Args:
            message: what `recv` returned.

        Raises:
            WrongMessageType: the message is binary.
            InvalidMessage: it is no JSON, or the model refuses it; the reason names the first field at fault.
        """
        if not isinstance(message, str):
            raise WrongMessageType("binary message where JSON text was expected")
        if self._struct is not None:
            return self._validate_struct(message)
        try:
            value = self._adapter.validate_json(message)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise InvalidMessage(_reason(self._place(first["loc"]), _problem(first))) from None
        # RFC 8259 knows no NaN; pydantic's parser lets it pass, so text that might hold one is read once
        # more.
        if "NaN" in message or "Infinity" in message:
            json.loads(message, parse_constant=_refuse_constant)
        return value

    def _validate_struct(self, message: str) -> T:
        try:
            return cast(T, self._struct.decode(message))
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise InvalidMessage(_reason("", _QUOTED.sub("a value", str(error)))) from None

    def _place(self, location: tuple[int | str, ...]) -> str:
        """Where in the message, in the model's own words: a key that the peer chose is its payload like a value."""
        if self._names is None:
            try:
                schema: object = self._adapter.json_schema()
            except Exception:  # a type without a JSON schema: then no names are known
                schema = {}
            self._names = frozenset(_properties(schema))
        return ".".join(
            str(step) if isinstance(step, int) or step in self._names else "…" for step in location
        )


def _properties(schema: object) -> Iterator[str]:
    """The names of all fields in a JSON schema, at whatever depth."""
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _properties(part)


def _problem(details: ErrorDetails) -> str:
    # The one message of pydantic's that repeats what was sent.
    if details["type"] == "union_tag_invalid":
        return "the tag is none of the expected ones"
    return details["msg"]


def _refuse_constant(constant: str) -> NoReturn:
    raise InvalidMessage(_reason("", f"{constant} is not JSON"))


def _reason(place: str, problem: str) -> str:
    """A close reason that fits its frame. It is in nobody's words but the model's: it may end in a log."""
    text = f"invalid message: {place}: {problem}" if place else f"invalid message: {problem}"
    return text.encode(errors="replace")[:MAX_REASON].decode(errors="ignore")
