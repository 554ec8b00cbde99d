from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Annotated, Any, Literal

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


class Say(pydantic.BaseModel):
    kind: Literal["say"]


class Ask(pydantic.BaseModel):
    kind: Literal["ask"]
    of: dict[str, Model] = {}


Either = pydantic.TypeAdapter(Annotated[Say | Ask, pydantic.Field(discriminator="kind")])


class Strict(pydantic.BaseModel, extra="forbid"):
    kind: str


class StrictStruct(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["say"]


class Tagged(msgspec.Struct, tag="say"):
    count: int


class TaggedToo(msgspec.Struct, tag="ask"):
    count: int


class Holder(msgspec.Struct):
    held: Tagged | TaggedToo


@pytest.mark.parametrize(
    ("model", "message", "told"),
    [
        (dict[str, int], '{"hunter2": "x"}', "…: "),
        (dict[int, int], '{"hunter2": 1}', "…"),
        (Strict, '{"kind": "x", "hunter2": 1}', "…: "),
        (Either, '{"kind": "hunter2"}', "the tag is none of the expected ones"),
        (Either, '{"kind": "ask", "of": {"hunter2": {"kind": "x", "count": "y"}}}', "….of.….kind: "),
        (list[Ask], '[{"kind": "ask"}, {"kind": "hunter2"}]', "1.kind: "),
        (StrictStruct, '{"kind": "say", "hunter2": 1}', "unknown field a value"),
        (StrictStruct, '{"kind": "hunter2"}', "a value"),
        (Holder, '{"held": {"type": "hunter2"}}', "Invalid value a value - at `$.held.type`"),
    ],
)
def test_keys_and_tags_that_the_peer_chose_are_kept_to_itself(model: Any, message: str, told: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        Validator(model).validate(message)
    assert told in caught.value.reason, caught.value.reason
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("start", ["", "x"])
def test_a_long_reason_is_cut_between_characters(start: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        Validator(pydantic.create_model("Long", **{start + "ü" * 200: (int, ...)})).validate("{}")
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
