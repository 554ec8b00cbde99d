"""What is depended on is pinned, and from where it is expected; the workflows run nothing that somebody could swap."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
NAMES = ["audit", "build", "test"]
CRATE_LOCKS = [ROOT / "Cargo.lock", ROOT / "rust/fuzz/Cargo.lock"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def _wanted(name: str) -> list[Requirement]:
    """What a `.in` file asks for, with what it includes."""
    found = []
    for line in (REQUIREMENTS / f"{name}.in").read_text().splitlines():
        if included := re.match(r"-r (\w+)\.in", line):
            found += _wanted(included[1])
        elif line and not line.startswith(("#", "-c ")):
            found.append(Requirement(line))
    return found


def _locked(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package in a lock."""
    text = (REQUIREMENTS / f"{name}.txt").read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    matches = [
        re.match(r"([\w.-]+)==(\S+)(?: ; [^#]*?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*$", line)
        for line in entries
    ]
    assert all(matches), [line for line, match in zip(entries, matches, strict=True) if not match]
    return {canonicalize_name(match[1]): (match[2], match[3].count("--hash")) for match in matches if match}


@pytest.mark.parametrize("name", NAMES)
def test_every_requirement_is_locked_to_a_version_with_hashes(name: str) -> None:
    locked = _locked(name)
    assert all(hashes for _, hashes in locked.values())
    for wanted in _wanted(name):
        version, _ = locked[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted}: {version} is locked"


def test_the_locks_agree_with_each_other() -> None:
    build, test = _locked("build"), _locked("test")
    assert {name: version for name, version in build.items() if test.get(name, version) != version} == {}


def test_what_the_library_needs_is_said_twice_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {str(one) for one in _wanted("runtime")} == {
        str(Requirement(one)) for one in project["dependencies"]
    }


@pytest.mark.parametrize("lock", CRATE_LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_every_crate_is_ours_or_from_the_registry_with_its_checksum(lock: Path) -> None:
    packages: list[dict[str, Any]] = tomllib.loads(lock.read_text())["package"]
    foreign = [package for package in packages if not package["name"].startswith("streamconductor-")]
    assert len(foreign) > 20
    for package in foreign:
        assert package["source"] == REGISTRY, package["name"]
        assert re.fullmatch("[0-9a-f]{64}", package["checksum"]), package["name"]


def test_builds_take_the_locked_crates() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    builds = re.findall(
        r"^.*\b(?:cargo (?:\+\S+ )?(?:miri )?(?:test|build|clippy|install)|maturin (?:develop|build)) .*$",
        makefile,
        re.M,
    )
    assert len(builds) > 5
    assert [line for line in builds if "--locked" not in line] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_named_by_commit_with_their_version(workflow: Path) -> None:
    uses = re.findall(r"^\s+(?:- )?uses: (.+)$", workflow.read_text(), re.M)
    foreign = [one for one in uses if not one.startswith("./")]
    assert foreign
    assert [one for one in foreign if not PINNED_ACTION.fullmatch(one)] == []
    assert "\npermissions: {}\n" in workflow.read_text()


def test_no_wheel_is_published_for_a_platform_without_tests() -> None:
    release = (ROOT / ".github/workflows/release.yml").read_text()
    assert "windows" not in re.sub(r"^\s*#.*$", "", release, flags=re.M).lower()
    for job in ("linux", "macos", "source"):
        block = release.split(f"\n  {job}:\n")[1].split("\n  publish:\n")[0]
        assert "wheel_check.py" in block or "against_wheel.sh" in block
    assert "needs: [tests, version, linux, macos, source]" in release


def test_the_threat_model_names_tests_and_commands_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    files = re.findall(r"`((?:tests|rust|\.github)/[\w./-]+)`", text)
    assert len(files) > 20
    assert [name for name in files if not (ROOT / name).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
