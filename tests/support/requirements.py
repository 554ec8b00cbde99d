"""Receives the lists of requirements and the tests' sources · hands out which tests try which requirement, and the
table for the documentation · owns how a requirement is numbered and how a test says its number.

A requirement's number is that of its RFC's section and its own place there: §5.1 has 5.1-1 to 5.1-4. A test says it in
its name: ``test_5_1_2_…`` here, against the server, and ``rfc6455_5_1_4_…`` in Rust, against the codec in the client's
role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "conformance"
RUST = ROOT / "rust"

SERVER, CLIENT = "server", "client"
BOTH = f"{SERVER}, {CLIENT}"


class Requirement(NamedTuple):
    """A MUST or MUST NOT.

    Attributes:
        number: section and place in it, as 5.1-2.
        text: what it asks for, in short.
        concerns: SERVER, CLIENT or BOTH; else why it concerns none of them here.
    """

    number: str
    text: str
    concerns: str

    @property
    def roles(self) -> list[str]:
        """Those that need a test."""
        return [role for role in (SERVER, CLIENT) if self.concerns in (role, BOTH)]


class Test(NamedTuple):
    """A test that says which requirement it tries."""

    __test__ = False

    rfc: str
    number: str
    role: str
    name: str
    path: str


def read(sections: dict[str, list[tuple[str, str]]]) -> list[Requirement]:
    """The requirements of an RFC from its sections."""
    return [
        Requirement(f"{section}-{place}", text, concerns)
        for section, texts in sections.items()
        for place, (concerns, text) in enumerate(texts, 1)
    ]


_PYTHON = re.compile(r"^(?:async )?def (test_((?:\d+_)+)\w+)", re.M)
_RUST = re.compile(r"^\s*fn ((rfc\d+)_((?:\d+_)+)\w+)", re.M)


def numbered() -> Iterator[Test]:
    """Every test that has a number, in the order of the files."""
    for path in sorted(HERE.glob("test_rfc*.py")):
        rfc = path.stem.split("_")[1]
        for name, digits in _PYTHON.findall(path.read_text()):
            yield Test(rfc, _number(digits), SERVER, name, str(path.relative_to(ROOT)))
    for path in [*sorted(RUST.glob("*/tests/*.rs")), *sorted(RUST.glob("*/src/**/*.rs"))]:
        for name, rfc, digits in _RUST.findall(path.read_text()):
            yield Test(rfc, _number(digits), CLIENT, name, str(path.relative_to(ROOT)))


def _number(digits: str) -> str:
    *section, place = digits.rstrip("_").split("_")
    return f"{'.'.join(section)}-{place}"


def all_requirements() -> dict[str, list[Requirement]]:
    """The lists, by RFC."""
    from tests.support.rfc6455 import SECTIONS as rfc6455
    from tests.support.rfc7692 import SECTIONS as rfc7692

    return {"rfc6455": read(rfc6455), "rfc7692": read(rfc7692)}


def table(rfc: str) -> str:
    """Each requirement and what tries it."""
    found = [test for test in numbered() if test.rfc == rfc]
    rows = ["| number | requirement | concerns | tried by |", "| --- | --- | --- | --- |"]
    for one in all_requirements()[rfc]:
        names = "<br>".join(f"`{test.name}`" for test in found if test.number == one.number)
        concerns = one.concerns if one.roles else f"none here: {one.concerns}"
        rows.append(f"| {one.number} | {one.text} | {concerns} | {names} |")
    return "\n".join(rows) + "\n"
