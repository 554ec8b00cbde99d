"""What was checked in of Autobahn|Testsuite, and how results are compared, told and left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance import __main__ as command
from compliance import results, suite
from compliance.results import Result
from compliance.roles import in_groups
from compliance.table import SECTIONS, table

GOOD = Result("OK", "OK", 1000)


@pytest.mark.parametrize("role", ["server", "client"])
def test_what_is_expected_is_what_was_promised(role: str) -> None:
    expected = results.expected(role)
    behaviors = [result.behavior for result in expected.values()]

    assert len(expected) == 517
    assert not [case for case, result in expected.items() if result.is_failed]
    assert behaviors.count("NON-STRICT") <= 2
    # All or none of what needs compression.
    missing = {case for case, result in expected.items() if result.behavior == "UNIMPLEMENTED"}
    compression = {case for case in expected if case.split(".")[0] in ("12", "13")}
    assert missing in (set(), compression)


def test_any_part_of_a_result_is_a_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "EXPECTED", tmp_path)
    before = {"1.1.1": GOOD, "1.1.2": GOOD, "1.1.10": GOOD, "7.1.1": GOOD}
    results.accept("server", before)
    assert results.expected("server") == before
    assert results.differences("server", before, before) == []

    after = {
        "1.1.1": GOOD._replace(behavior="NON-STRICT"),
        "1.1.2": GOOD._replace(close="WRONG CODE"),
        "1.1.10": GOOD._replace(code=None),
        "9.1.1": GOOD,
    }
    found = results.differences("server", after, before | after)
    assert [one.case for one in found] == ["1.1.1", "1.1.2", "1.1.10", "7.1.1", "9.1.1"]
    assert (
        str(found[0]) == "case 1.1.1: expected OK, close OK, code 1000; found NON-STRICT, close OK, code 1000"
    )
    assert "no result" in str(found[3])
    assert "no such case" in str(found[4])
    # Only of cases that were to be played.
    assert results.differences("server", {}, []) == []


def test_a_failed_close_is_a_failure() -> None:
    assert not GOOD.is_failed
    for bad in (
        GOOD._replace(behavior="FAILED"),
        GOOD._replace(close="UNCLEAN"),
        GOOD._replace(close="FAILED BY CLIENT"),
    ):
        assert bad.is_failed


def test_the_table_counts_each_case_once() -> None:
    found = {
        "1.1.1": GOOD,
        "10.1.1": Result("INFORMATIONAL", "INFORMATIONAL", None),
        "2.1": Result("OK", "UNCLEAN", 1),
    }
    lines = [line.split() for line in table("server", found).splitlines()]

    assert lines[-1] == ["all", "3", "1", "0", "1", "0", "1"]
    assert [line[0] for line in lines[4:7]] == ["1", "2", "10"]


def test_every_case_has_a_group() -> None:
    cases = list(results.expected("server"))
    groups = in_groups(cases, command.GROUPS)

    assert sorted(case for group in groups for case in group) == sorted(cases)
    assert {section for group in command.GROUPS for section in group} == SECTIONS.keys()


@pytest.mark.parametrize(("required", "code"), [(None, 0), ("1", 1)])
def test_without_the_suite_it_is_skipped_loudly(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    required: str | None,
    code: int,
) -> None:
    monkeypatch.setattr(suite, "PLACE", tmp_path / "autobahn")
    monkeypatch.setattr("sys.argv", ["compliance", "--load", "nothing"])
    monkeypatch.setenv("PATH", str(tmp_path))
    if required is None:
        monkeypatch.delenv("REQUIRE", raising=False)
    else:
        monkeypatch.setenv("REQUIRE", required)

    assert command.main() == code
    assert "SKIPPED: Autobahn|Testsuite cannot be had here" in capsys.readouterr().err
