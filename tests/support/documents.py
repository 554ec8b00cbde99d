"""Receives the documents of the repository · hands tests their samples, commands and links, and the tables that they
should hold · owns how a document marks them.

``python -m tests.support.documents`` writes the tables anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compliance import results, table
from streamconductor import Config
from tests.protocol.rows.catalogue import all_rows
from tests.protocol.rows.registry import BOTH
from tests.support import requirements

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "bench").glob("*.md")),
]

_SAMPLE = re.compile(
    r"(?:<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_TABLE = re.compile(
    r"(?P<start><!-- (?:(?P<sort>limits|requirements|autobahn): (?P<fields>[^>]+?)|(?P<rows>rows)) -->\n)"
    r"(?P<table>.*?)(?P<end><!-- end -->)",
    re.S,
)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Sample:
    """A fenced part of a document.

    Attributes:
        place: the document and the line that it begins on.
        language: as the fence says it; empty for commands of a shell.
        reason: why it cannot be run, from ``<!-- not run: reason -->`` above it; None: it can be.
    """

    place: str
    language: str
    text: str
    reason: str | None


def samples(language: str) -> Iterator[Sample]:
    """All of a language, in order."""
    for document in DOCUMENTS:
        text = document.read_text()
        for found in _SAMPLE.finditer(text):
            if found["language"] == language:
                line = text.count("\n", 0, found.start("text"))
                place = f"{document.relative_to(ROOT)}:{line}"
                yield Sample(place, language, found["text"], found["reason"])


def commands(program: str) -> Iterator[tuple[str, str]]:
    """The first word after the program wherever a shell or a word in backticks calls it, and where."""
    for document in DOCUMENTS:
        text = document.read_text()
        shells = [
            found["text"] for found in _SAMPLE.finditer(text) if found["language"] in ("", "sh", "bash")
        ]
        quoted = re.findall(r"`([^`\n]+)`", text)
        for word in re.findall(rf"^(?:\$ )?{program} +([a-z][\w-]*)", "\n".join([*shells, *quoted]), re.M):
            yield str(document.relative_to(ROOT)), word


def links() -> Iterator[tuple[Path, str]]:
    """Each document, and each target in it that is no address."""
    for document in DOCUMENTS:
        for target in _LINK.findall(_SAMPLE.sub("", document.read_text())):
            yield document, target


def with_tables(text: str) -> str:
    """A document's text with the tables that its marks ask for."""

    def table(found: re.Match[str]) -> str:
        made = _rows() if found["rows"] else makers[found["sort"]](found["fields"].split())
        return f"{found['start']}{made}{found['end']}"

    makers = {"limits": _limits, "requirements": _requirements, "autobahn": _autobahn}
    return _TABLE.sub(table, text)


def _rows() -> str:
    """What each row of hostile input is, what becomes of it, and the tests that try it."""
    lines = ["| row | input | expectation | over | tests |", "| --- | --- | --- | --- | --- |"]
    for row in all_rows():
        over = ", ".join(one for one in BOTH if any(one in case.transports for case in row.cases)).upper()
        count = sum(len(case.transports) for case in row.cases)
        tests = f"`-k {row.name}-`, {count}"
        lines.append(f"| {row.name} | {row.input} | {row.expectation} | {over} | {tests} |")
    return "\n".join(lines) + "\n"


def _requirements(rfcs: list[str]) -> str:
    """Every requirement of an RFC and the tests that try it."""
    return "\n".join(map(requirements.table, rfcs))


def _autobahn(roles: list[str]) -> str:
    """The results of the suite that were checked in, by section."""
    return "\n".join(f"```text\n{table.table(role, results.expected(role))}\n```\n" for role in roles)


def _limits(fields: list[str]) -> str:
    """What each field bounds, its default and what happens at the limit, from the fields' own descriptions."""
    rows = ["| field | default | what it bounds | at the limit |", "| --- | --- | --- | --- |"]
    for name in Config.model_fields if fields == ["all"] else fields:
        facts = Config.model_fields[name].json_schema_extra
        assert isinstance(facts, dict)
        none = "" if facts["none"] in ("not allowed", "the default") else f"; None: {facts['none']}"
        default = _shown(str(facts["default"]), str(facts["unit"]))
        rows.append(f"| `{name}` | {default} | {facts['bounds']}{none} | {facts['reached']} |")
    return "\n".join(rows) + "\n"


def _shown(default: str, unit: str) -> str:
    """A default with its unit, as people write it."""
    if re.fullmatch(r"\d+", default) and unit != "port number":
        default = f"{int(default):,}"
    if re.fullmatch(r"[\d.]+", default) and unit == "seconds":
        return f"{float(default):g} s"
    if re.fullmatch(r"[\d,]+", default) and unit == "frames a second":
        return f"{default} a second"
    return default


if __name__ == "__main__":
    for document in DOCUMENTS:
        before = document.read_text()
        if (after := with_tables(before)) != before:
            document.write_text(after)
