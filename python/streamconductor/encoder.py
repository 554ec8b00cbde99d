"""Receives a payload from `send`, `publish` or `broadcast` · hands out the text or bytes of one message ·
owns the shape of our JSON: what pydantic makes of a value, whichever engine is installed.

orjson encodes when installed, msgspec encodes its own Structs, pydantic-core (always there) the rest. msgspec
is kept to Structs because it writes `timedelta`, nested bytes and pydantic dataclasses in another shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

__all__ = ["Encoder", "encode", "installed"]


def installed(name: str) -> Any:
    """A module that is no dependency, or `None`; as Any, so that type checking does not need it either."""
    try:
        return import_module(name)
    except ImportError:
        return None


orjson = installed("orjson")
msgspec = installed("msgspec")

Encoder = Callable[[Any], str | bytes]
"""Makes JSON, or any other text, of a payload: `str`, or `bytes` of UTF-8."""

_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(payload: object, encoder: Encoder | None = None) -> str | bytes:
    """Makes one message of a payload: `str` is text, bytes-like is binary, anything else becomes JSON text.

    Args:
        payload: what to send. Besides the types of JSON: pydantic models, dataclasses, msgspec Structs,
            `datetime`, `date`, `time`, `timedelta`, `UUID`, `Decimal` (as a string), `Enum` (its value),
            sets, tuples.
        encoder: `Config.encoder`; `None` is the JSON described here. It sees neither `str` nor bytes-like
            payloads, and what it returns is text.

    Raises:
        ValueError: NaN, Infinity, a lone surrogate or a cycle, which JSON text cannot carry.
        TypeError: a type that the encoder does not know.
    """
    if isinstance(payload, str):
        return payload
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, bytearray | memoryview):
        return bytes(payload)
    return _json(payload) if encoder is None else _text(encoder(payload))


def _json(payload: object) -> str:
    try:
        text = _engine(payload).decode()
    except (TypeError, ValueError, RecursionError):
        return _strict(payload)  # which knows more types and says better what is wrong
    # The engines write NaN as null without a word, or as NaN: where either shows, the strict path has to
    # look.
    if "null" in text or "NaN" in text or "Infinity" in text:
        return _strict(payload)
    return text


def _engine(payload: object) -> bytes:
    if msgspec is not None and isinstance(payload, msgspec.Struct):
        return bytes(msgspec.json.encode(payload, enc_hook=_plain))
    if orjson is not None:
        # Passing these through sends them to `_plain`: one shape for dates and dataclasses.
        passed = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
        return bytes(orjson.dumps(payload, default=_plain, option=passed))
    return to_json(payload, inf_nan_mode="constants", bytes_mode="base64", fallback=_foreign)


def _strict(payload: object) -> str:
    """The definition of the shape, and of what is refused: slower, exact, and the same with any engine."""
    try:
        text = _STRICT.encode(_plain(payload))
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a lone surrogate is no text: {error.reason}; remove it from the payload") from None
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        detail = str(error)
        if "float" in detail:
            detail = "NaN and Infinity have no JSON form; send None or a string instead"
        raise ValueError(f"cannot encode {type(payload).__name__} as JSON: {detail}") from None
    return text


def _plain(value: object) -> Any:
    """The value in the types of JSON, as pydantic has it; NaN stays, so that the strict path finds it."""
    return to_jsonable_python(value, inf_nan_mode="constants", bytes_mode="base64", fallback=_foreign)


def _foreign(value: object) -> Any:
    """What pydantic does not know."""
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"cannot encode {name} as JSON; convert it first, or set Config.encoder")


def _text(encoded: object) -> str:
    if isinstance(encoded, str):
        return encoded
    if isinstance(encoded, bytes):
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            raise ValueError(
                "Config.encoder returned bytes that are no UTF-8 text; send bytes for binary messages"
            ) from None
    raise TypeError(
        f"Config.encoder returned {type(encoded).__name__}; it must return str, or bytes of UTF-8"
    )
