from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamconductor.close import MAX_REASON, CloseCode, check_close

CORE = Path(__file__).parents[2] / "rust" / "core" / "src" / "close.rs"


def test_codes_are_those_of_the_core() -> None:
    core = {
        name: int(code)
        for name, code in re.findall(r"pub const (\w+): Self = Self\((\d+)\)", CORE.read_text())
    }
    assert core == {code.name: code.value for code in CloseCode}


def test_exactly_the_sendable_codes_pass() -> None:
    # RFC 6455 §7.4 and the IANA registry.
    def passes(code: int) -> bool:
        try:
            return check_close(code, "") == (code, "")
        except ValueError:
            return False

    passed = {code for code in range(-1, 70_000) if passes(code)}
    with pytest.raises(ValueError, match="close code 1006 may not be sent; use 1000–1003"):
        check_close(1006)
    assert passed == {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.parametrize("code", [None, "1000", 1000.0, True])
def test_a_code_is_an_int(code: object) -> None:
    with pytest.raises(TypeError, match="close code must be an int"):
        check_close(code)


@pytest.mark.parametrize("reason", [None, b"bye", 1])
def test_a_reason_is_text(reason: object) -> None:
    with pytest.raises(TypeError, match="close reason must be a str"):
        check_close(1000, reason)


def test_a_reason_is_measured_in_bytes() -> None:
    fits = "ü" * 61 + "x"
    assert len(fits.encode()) == MAX_REASON
    assert check_close(CloseCode.NORMAL, fits) == (1000, fits)
    with pytest.raises(ValueError, match="124 bytes, limit 123"):
        check_close(1000, "ü" * 62)


def test_a_lone_surrogate_is_no_reason() -> None:
    with pytest.raises(ValueError, match="not encodable"):
        check_close(1000, "\ud800")


def test_without_arguments_it_is_normal() -> None:
    assert check_close() == (1000, "")
    assert type(check_close(CloseCode.GOING_AWAY)[0]) is int
