from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamconductor.units import LONGEST, duration, format_duration, format_size, size


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (0, 0),
        (4096, 4096),
        (1e6, 1_000_000),
        ("17", 17),
        ("17B", 17),
        ("64KiB", 65_536),
        ("64kib", 65_536),
        ("1 MiB", 1_048_576),
        ("1.5MiB", 1_572_864),
        ("2MB", 2_000_000),
        ("3kB", 3_000),
        ("1GiB", 1_073_741_824),
        ("1GB", 1_000_000_000),
    ],
)
def test_sizes(written: object, count: int) -> None:
    assert size(written) == count
    assert type(size(written)) is int


@pytest.mark.parametrize(
    "written",
    ["", "KiB", "-1", "1K", "0.3B", "1XB", "1 2", "0x10", "1e3", 1.5, True, None, [1], "9" * 400 + ".5"],
)
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="is no size"):
        size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (5, 5.0),
        (0.25, 0.25),
        ("5", 5.0),
        ("5s", 5.0),
        ("250ms", 0.25),
        ("50us", 5e-5),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h", 3_600.0),
        ("1h30m", 5_400.0),
        ("1h 30m", 5_400.0),
        ("1.5s", 1.5),
        ("1d", 86_400.0),
        (timedelta(minutes=1), 60.0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "s", "1h30", "5 5", "-1s", "1w", "nan", float("nan"), True, None])
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration(written)


@pytest.mark.parametrize("written", [float("inf"), LONGEST + 1, 10**400, "4000d", "9" * 400])
def test_durations_have_an_end(written: object) -> None:
    with pytest.raises(ValueError, match="ten years"):
        duration(written)


@given(st.integers(min_value=0, max_value=2**48))
def test_sizes_read_back_what_was_written(count: int) -> None:
    assert size(format_size(count)) == count


@given(st.integers(min_value=0, max_value=10**12))
def test_durations_read_back_what_was_written(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6, rel=1e-11)


def test_what_is_written_is_short() -> None:
    assert [format_size(65_536), format_size(2**21), format_size(1_000)] == ["64KiB", "2MiB", "1000B"]
    assert [format_duration(0.05), format_duration(5.0), format_duration(38.95)] == ["50ms", "5s", "38.95s"]
