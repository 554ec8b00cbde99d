"""Receives how many examples a property is worth · hands hypothesis its settings, and values of every kind · owns what
holds for all properties: no deadline that a loaded machine would break, and in CI the same examples every time.
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

__all__ = ["anything", "bounded", "payloads"]


def bounded(count: int) -> settings:
    """At most `count` examples, `EXAMPLES` times as many when that variable is set; under CI always the same, so that
    a change fails by its own fault only.
    """
    return settings(
        max_examples=count * int(os.environ.get("EXAMPLES", "1")),
        deadline=None,
        derandomize=bool(os.environ.get("CI")),
        # The fixtures here make nothing that an example could leave changed.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# Lone surrogates too: Python's text may hold them, and no wire does.
TEXT = st.text(st.characters(codec=None), max_size=20)
NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**48, 2**63, 10**400, True]),
    st.floats(),
    st.decimals(allow_nan=True),
)
WRITTEN = st.builds(
    lambda number, gap, unit: f"{number}{gap}{unit}",
    st.one_of(st.integers(0, 10**6), st.floats(0, 1e6), st.just("9" * 400), st.just("9" * 400 + ".5")),
    st.sampled_from(["", " "]),
    st.sampled_from(["", "B", "kB", "KiB", "MiB", "GiB", "us", "ms", "s", "m", "h", "d", "parsecs"]),
)
ODD = st.one_of(
    st.timedeltas(),
    st.just(timedelta.max),
    st.dates(),
    st.builds(object),
    st.just(len),
    st.just(PurePosixPath("a/b")),
    st.builds(set),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, WRITTEN, st.binary(max_size=20))

anything: st.SearchStrategy[Any] = st.one_of(
    SCALARS, ODD, st.lists(st.one_of(SCALARS, ODD), max_size=4), st.dictionaries(TEXT, SCALARS, max_size=3)
)
"""A value of any kind, the nearly right ones among them."""


def _deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def _cycle() -> object:
    cycle: list[object] = []
    cycle.append({"again": cycle})
    return cycle


payloads: st.SearchStrategy[Any] = st.one_of(
    st.recursive(
        st.one_of(SCALARS, ODD),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.one_of(TEXT, st.integers(), st.none(), st.binary(max_size=4)), inner, max_size=3
            ),
            st.tuples(inner, inner),
        ),
        max_leaves=8,
    ),
    st.binary(max_size=200).map(bytearray),
    st.binary(min_size=2, max_size=200).map(lambda data: memoryview(data)[::2]),
    st.sampled_from([date.max, Decimal("sNaN"), Decimal("1e999"), b"x" * 70_000, "x" * 70_000]),
    st.integers(100, 3_000).map(_deep),
    st.builds(_cycle),
)
"""Something that an application might send, or wrongly believe that it can."""
