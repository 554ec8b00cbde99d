"""The lists of requirements and the tests: neither has a number that the other does not know."""

from __future__ import annotations

import pytest

from tests.support.requirements import BOTH, CLIENT, SERVER, Requirement, all_requirements, numbered

REQUIREMENTS = all_requirements()
TESTS = list(numbered())


@pytest.mark.parametrize("rfc", REQUIREMENTS)
def test_every_requirement_that_concerns_somebody_is_tried(rfc: str) -> None:
    tried = {(test.number, test.role) for test in TESTS if test.rfc == rfc}
    untried = [
        (one.number, role)
        for one in REQUIREMENTS[rfc]
        for role in one.roles
        if (one.number, role) not in tried
    ]

    assert untried == []


def test_every_numbered_test_tries_a_requirement_that_concerns_its_role() -> None:
    wanted = {
        (rfc, one.number, role) for rfc, found in REQUIREMENTS.items() for one in found for role in one.roles
    }
    stray = [test for test in TESTS if (test.rfc, test.number, test.role) not in wanted]

    assert stray == []


def test_the_lists_are_as_long_as_the_rfcs_are() -> None:
    # Who adds or takes away a requirement counts the RFC's own.
    assert {rfc: len(found) for rfc, found in REQUIREMENTS.items()} == {"rfc6455": 113, "rfc7692": 38}
    assert len({(test.path, test.name) for test in TESTS}) == len(TESTS)


def test_whom_a_requirement_concerns() -> None:
    assert Requirement("1-1", "", BOTH).roles == [SERVER, CLIENT]
    assert Requirement("1-1", "", SERVER).roles == [SERVER]
    assert Requirement("1-1", "", "for people who like it").roles == []
