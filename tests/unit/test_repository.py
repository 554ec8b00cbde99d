"""The rules of the house that no formatter and no lint knows."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

MOST_LINES = 500
# Written by programs, for programs.
GENERATED = re.compile(
    r"(^|/)(Cargo\.lock|package-lock\.json|requirements/\w+\.txt|expected/\w+\.json|docs/benchmarks/results\.json|.+\.schema\.json)$"
)
TEXT = re.compile(r"\.(css|html|js|json|md|mjs|pyi?|rs|sh|toml|ts|yml)$|(^|/)[^./]+$")

OPENING = re.compile(r"\b[Rr]eceives\b.+ · .*\bowns?\b")

# Words that say nothing about what a thing does.
EMPTY_WORDS = {"manager", "managers", "session", "sessions", "util", "utils", "helper", "helpers"}
RUST_DEFINITION = re.compile(
    r"\b(?:fn|struct|enum|union|trait|mod|type|const|static|let(?:\s+mut)?|macro_rules!)\s+(?:r#)?([A-Za-z_]\w*)"
    r"|^\s*(?:pub(?:\(\w+\))?\s+)?([a-z_]\w*)\s*:\s*[&A-Z(\[]"
)
SCRIPT_DEFINITION = re.compile(r"\b(?:function|class|const|let|var|interface|type)\s+([A-Za-z_$][\w$]*)")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# "to" + "do" and the like, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|\b(todo|unimplemented)!\(")
HOME = re.compile(r"(?<![\w.:/-])/(work|root|home|Users)/[\w.-]+")


def _files() -> list[str]:
    """What is in the repository, or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(
        name
        for name in listed.split("\0")
        if name and (ROOT / name).is_file() and TEXT.search(name) and not GENERATED.search(name)
    )


FILES = _files()
PRODUCT = [
    name for name in FILES if re.match(r"python/streamconductor/.*\.(pyi?|js|ts)$|rust/\w+/src/.*\.rs$", name)
]
# Crates' roots and packages say what the whole is, and tests belong to the module that they test.
DOCUMENTED = [
    name
    for name in PRODUCT
    if name.endswith((".py", ".rs")) and not re.search(r"/(__main__\.py|(\w+_)?tests\.rs|tests/.*)$", name)
]
ROOTS = {
    "python/streamconductor/__init__.py",
    *(name for name in PRODUCT if re.fullmatch(r"rust/\w+/src/(lib|main)\.rs", name)),
}


def test_there_is_something_to_look_at() -> None:
    assert len(PRODUCT) > 60
    assert {"README.md", "Makefile", ".ci/run", "rust/core/src/lib.rs"} <= set(FILES)


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in FILES}

    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_every_module_says_what_it_receives_hands_out_and_owns() -> None:
    openings = {name: _opening(name) for name in DOCUMENTED if name not in ROOTS}

    assert {name: opening for name, opening in openings.items() if not OPENING.search(opening)} == {}


def test_every_crate_and_the_package_say_what_they_are() -> None:
    assert [name for name in ROOTS if len(_opening(name).split()) < 5] == []


def test_no_name_is_an_empty_word() -> None:
    names = {(file, name) for file in PRODUCT for name in _defined(file)}

    assert {(file, name) for file, name in names if EMPTY_WORDS & _words(name)} == set()


def test_nothing_is_left_for_later() -> None:
    assert _lines_with(UNFINISHED) == []


def test_make_build_brings_what_the_command_line_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = (ROOT / "requirements/build.txt").read_text()
    needed = [re.split(r"[><=]", one)[0] for one in project["optional-dependencies"]["cli"]]

    assert [name for name in needed if not re.search(rf"^{name}==", locked, re.M)] == []


def test_no_path_of_the_machine_it_was_written_on() -> None:
    assert _lines_with(HOME) == []


def test_the_rules_find_what_they_look_for() -> None:
    assert UNFINISHED.search("# TO" + "DO: later")
    assert HOME.search("open('/ho" + "me/somebody/notes')")
    assert not HOME.search("https://example.com/work/1")
    assert [match[1] or match[2] for match in RUST_DEFINITION.finditer("let mut pool_manager = 1;")] == [
        "pool_manager"
    ]
    assert "session_count" in set(_python_names("def count(session_count, /): SessionPool = 1"))
    assert _words("HTTPSessionPool") == {"http", "session", "pool"}
    assert _words("utilisation_contextmanager") == {"utilisation", "contextmanager"}


def _opening(name: str) -> str:
    """The doc that a module opens with, as one line."""
    text = (ROOT / name).read_text()
    if name.endswith(".py"):
        doc = ast.get_docstring(ast.parse(text)) or ""
    else:
        lines = [line.strip() for line in text.splitlines()]
        doc = "\n".join(line.removeprefix("//!") for line in lines if line.startswith("//!"))
    return " ".join(doc.split())


def _defined(name: str) -> Iterator[str]:
    """The names that a file gives to things, not those it takes from others."""
    text = (ROOT / name).read_text()
    if name.endswith((".py", ".pyi")):
        yield from _python_names(text)
    elif name.endswith(".rs"):
        for line in text.splitlines():
            for match in RUST_DEFINITION.finditer(line.partition("//")[0]):
                yield match[1] or match[2]
    else:
        yield from SCRIPT_DEFINITION.findall(text)
    yield Path(name).name.partition(".")[0]


def _python_names(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case (
                ast.arg(arg=name)
                | ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
            ):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def _words(name: str) -> set[str]:
    return {word.lower() for word in WORD.findall(name)}


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name in FILES
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1)
        if pattern.search(line)
    ]
