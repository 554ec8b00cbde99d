from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamconductor import encoder as module
from streamconductor.encoder import encode

ENGINES = ["orjson", "orjson without msgspec", "msgspec", "pydantic"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every combination of what may be installed; each test that asks for it runs with all of them."""
    name: str = request.param
    if not name.startswith("orjson"):
        monkeypatch.setattr(module, "orjson", None)
    if name in {"orjson without msgspec", "pydantic"}:
        monkeypatch.setattr(module, "msgspec", None)
    return name


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


class Word(StrEnum):
    YES = "yes"


class Text(str):
    __slots__ = ()


Point = namedtuple("Point", "x y")


@dataclass
class Trade:
    price: Decimal
    at: datetime
    note: str | None = None


class Model(pydantic.BaseModel):
    price: Decimal
    at: datetime
    inner: Trade | None = None
    ratio: float = 1.0


@pydantic.dataclasses.dataclass
class Renamed:
    value: int

    @pydantic.field_serializer("value")
    def _hexadecimal(self, value: int) -> str:
        return hex(value)


class Struct(msgspec.Struct, rename="camel"):
    best_bid: float
    at: datetime
    any_thing: Any = None


AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHAPES: list[tuple[object, str]] = [
    ({"bid": 1.0871, "n": 5, "ok": True}, '{"bid":1.0871,"n":5,"ok":true}'),
    ([1, None, "x", (2, 3)], '[1,null,"x",[2,3]]'),
    (None, "null"),
    (1, "1"),
    (2**70, str(2**70)),
    ({"é": "\u2028€"}, '{"é":"\u2028€"}'),
    ({"a": "null NaN"}, '{"a":"null NaN"}'),
    (AT, '"2026-01-02T03:04:05Z"'),
    (AT.replace(microsecond=500, tzinfo=timezone(timedelta(hours=2))), '"2026-01-02T03:04:05.000500+02:00"'),
    (datetime(2026, 1, 2), '"2026-01-02T00:00:00"'),
    (date(2026, 1, 2), '"2026-01-02"'),
    (time(1, 2, 3), '"01:02:03"'),
    (timedelta(hours=1), '"PT1H"'),
    (UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
    (Decimal("1.10"), '"1.10"'),
    ([Colour.RED, Level.HIGH, Word.YES, Text("t")], '["red",2,"yes","t"]'),
    ({7}, "[7]"),
    (frozenset([7]), "[7]"),
    (Point(1, 2), "[1,2]"),
    (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
    ({1: "a", UUID(int=5): "b", Colour.RED: "c", date(2026, 1, 2): "d"},
     '{"1":"a","00000000-0000-0000-0000-000000000005":"b","red":"c","2026-01-02":"d"}'),
    ({"raw": b"\xff\x00"}, '{"raw":"_wA="}'),
    (Trade(Decimal("1.5"), AT), '{"price":"1.5","at":"2026-01-02T03:04:05Z","note":null}'),
    (Model(price=Decimal("1.5"), at=AT, inner=Trade(Decimal(2), AT, "n")),
     '{"price":"1.5","at":"2026-01-02T03:04:05Z",'
     '"inner":{"price":"2","at":"2026-01-02T03:04:05Z","note":"n"},"ratio":1.0}'),
    ([Renamed(255)], '[{"value":"0xff"}]'),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "text"), SHAPES, ids=lambda value: type(value).__name__)
def test_the_shape_is_the_same_with_every_engine(engine: str, payload: object, text: str) -> None:
    assert encode(payload) == text


def test_structs_keep_the_shape_that_msgspec_gives_them(engine: str) -> None:
    struct = Struct(1.5, AT, Model(price=Decimal(1), at=AT))
    if module.msgspec is None:
        with pytest.raises(TypeError, match="Struct as JSON"):
            encode(struct)
        return
    text = ('{"bestBid":1.5,"at":"2026-01-02T03:04:05Z","anyThing":'
            '{"price":"1","at":"2026-01-02T03:04:05Z","inner":null,"ratio":1.0}}')  # fmt: skip
    assert encode(struct) == text
    assert encode({"a": [struct]}) == '{"a":[' + text + "]}"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).filter(lambda value: not isinstance(value, str))
)
def test_json_values_come_back_as_they_were(value: object) -> None:
    expected = json.loads(json.dumps(value))
    kept = module.orjson
    for engine in (kept, None):
        module.orjson = engine
        try:
            assert json.loads(encode(value)) == expected
        finally:
            module.orjson = kept


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "place",
    [
        lambda number: number,
        lambda number: {"a": [number]},
        lambda number: Model(price=Decimal(1), at=AT, ratio=number),
        lambda number: [Model(price=Decimal(1), at=AT, ratio=number)],
        lambda number: [Struct(number, AT)],
        lambda number: Struct(number, AT),
        lambda number: {number},
    ],
    ids=["top", "nested", "model", "nested model", "nested struct", "struct", "set"],
)
def test_nan_and_infinity_raise(engine: str, place: Callable[[float], object], number: float) -> None:
    payload = place(number)
    expected: type[Exception] = ValueError
    if module.msgspec is None and "Struct" in repr(payload):
        expected = TypeError
    with pytest.raises(expected):
        encode(payload)


def test_nan_is_named(engine: str) -> None:
    with pytest.raises(ValueError, match="NaN and Infinity have no JSON form"):
        encode({"a": float("nan")})


class Unknown:
    pass


@pytest.mark.parametrize(
    "payload", [Unknown(), {"a": [Unknown()]}, {1: Unknown()}], ids=["top", "nested", "key"]
)
def test_an_unknown_type_is_named_with_the_option(engine: str, payload: object) -> None:
    with pytest.raises(TypeError, match=r"test_encoder\.Unknown as JSON; .*Config\.encoder"):
        encode(payload)


def test_a_cycle_and_a_lone_surrogate_raise(engine: str) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="cannot encode list"):
        encode(cycle)
    with pytest.raises(ValueError, match="surrogate"):
        encode(["\ud800"])


def test_mappings_that_are_no_dicts_are_unknown_types(engine: str) -> None:
    with pytest.raises(TypeError, match="mappingproxy"):
        encode(MappingProxyType({"a": 1}))


def test_text_and_bytes_stay_what_they_are() -> None:
    assert encode("text") == "text"
    for payload in (b"abc", bytearray(b"abc"), memoryview(b"aXbXcX")[::2]):
        encoded = encode(payload)
        assert encoded == b"abc"
        assert type(encoded) is bytes


def test_a_bytearray_is_copied() -> None:
    payload = bytearray(b"abc")
    encoded = encode(payload)
    payload[0] = 0
    assert encoded == b"abc"


def test_an_encoder_of_ones_own() -> None:
    seen: list[object] = []

    def mine(payload: object) -> bytes:
        seen.append(payload)
        return "ü".encode()

    assert encode({"a": 1}, mine) == "ü"
    assert encode("text", mine) == "text"
    assert encode(b"bytes", mine) == b"bytes"
    assert encode([1], lambda payload: repr(payload)) == "[1]"
    assert seen == [{"a": 1}]


def test_an_encoder_that_makes_no_text() -> None:
    with pytest.raises(ValueError, match=r"Config\.encoder returned bytes that are no UTF-8"):
        encode([1], lambda _: b"\xff")
    with pytest.raises(TypeError, match=r"Config\.encoder returned int"):
        encode([1], lambda _: 5)  # type: ignore[arg-type,return-value]
