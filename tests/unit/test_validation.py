from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from streamconductor.close import MAX_REASON
from streamconductor.errors import InvalidMessage, WrongMessageType
from streamconductor.validation import Validator


class Model(pydantic.BaseModel):
    kind: Literal["say", "leave"]
    count: int = 0
    ratio: float = 1.0


@dataclass
class Plain:
    kind: str
    count: int = 0


class Struct(msgspec.Struct):
    kind: str
    count: int = 0


@pytest.mark.parametrize("model", [Model, Plain, Struct])
def test_a_message_becomes_an_object_of_the_model(model: type[Any]) -> None:
    value = Validator(model).validate('{"kind": "say", "count": 3}')
    assert type(value) is model
    assert (value.kind, value.count) == ("say", 3)


def test_other_annotations_and_adapters_are_models_too() -> None:
    assert Validator(dict[str, int]).validate('{"a": 1}') == {"a": 1}
    assert Validator(pydantic.TypeAdapter(list[int])).validate("[1]") == [1]


@pytest.mark.parametrize("model", [Model, Struct])
@pytest.mark.parametrize("message", [b'{"kind": "say"}', b"", b"\xff"])
def test_binary_is_the_wrong_type_even_where_it_holds_json(model: type[Any], message: bytes) -> None:
    with pytest.raises(WrongMessageType) as caught:
        Validator(model).validate(message)
    assert caught.value.code == 1003
    assert "binary" in caught.value.reason


@pytest.mark.parametrize("model", [Model, Plain, Struct])
@pytest.mark.parametrize(
    "message",
    ["", "{", "null", "[]", "{}", '{"kind": 5}', '{"kind": "say", "count": "x"}', "[" * 100_000,
     '{"kind": NaN}', '{"kind": "\ud800"}'],
    ids=["empty", "half", "null", "array", "missing", "type", "value", "deep", "nan", "surrogate"],
)  # fmt: skip
def test_invalid_content_is_1007_with_a_reason_that_fits(model: type[Any], message: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        Validator(model).validate(message)
    assert caught.value.code == 1007
    assert caught.value.reason.startswith("invalid message: ")
    assert len(caught.value.reason.encode()) <= MAX_REASON


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_nan_is_no_json_where_a_float_would_do(constant: str) -> None:
    with pytest.raises(InvalidMessage, match="is not JSON"):
        Validator(Model).validate(f'{{"kind": "say", "ratio": {constant}}}')
    assert Validator(dict[str, str]).validate(f'{{"a": "{constant}"}}') == {"a": constant}


def test_the_reason_names_the_field_and_keeps_what_was_sent_to_itself() -> None:
    with pytest.raises(InvalidMessage) as caught:
        Validator(Model).validate('{"kind": "say", "count": "hunter2"}')
    assert caught.value.reason.startswith("invalid message: count: ")
    assert "hunter2" not in caught.value.reason


@pytest.mark.parametrize("start", ["", "x"])
def test_a_long_reason_is_cut_between_characters(start: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        Validator(dict[str, int]).validate('{"' + start + "ü" * 200 + '": "x"}')
    assert caught.value.reason.startswith(f"invalid message: {start}ü")
    assert MAX_REASON - 1 <= len(caught.value.reason.encode()) <= MAX_REASON


def test_what_a_validator_of_the_application_raises_passes() -> None:
    class Broken(pydantic.BaseModel):
        value: int

        @pydantic.field_validator("value")
        @classmethod
        def _break(cls, value: int) -> int:
            raise KeyError(value)

    with pytest.raises(KeyError):
        Validator(Broken).validate('{"value": 1}')


def test_what_is_no_model_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="needs a model"):
        Validator(object())  # type: ignore[arg-type]
