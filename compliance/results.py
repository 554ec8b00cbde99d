"""Receives the suite's reports and the expectations that were checked in · hands out every case in which they differ ·
owns how a result is written down.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

EXPECTED = Path(__file__).parent / "expected"


class Result(NamedTuple):
    """What came of a case, in the suite's words.

    Attributes:
        behavior: OK, NON-STRICT, INFORMATIONAL, UNIMPLEMENTED or FAILED.
        close: the same of the closing handshake, WRONG CODE, UNCLEAN or FAILED BY CLIENT.
        code: the close code that our side sent; None: it sent none.
    """

    behavior: str
    close: str
    code: int | None

    @property
    def is_failed(self) -> bool:
        """Whether the case, or the closing handshake after it, went wrong."""
        return self.behavior not in _PASSED or self.close not in ("OK", "INFORMATIONAL", "UNIMPLEMENTED")

    def __str__(self) -> str:
        return f"{self.behavior}, close {self.close}, code {self.code}"


_PASSED = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")

Results = Mapping[str, Result]
"""By case, such as 9.1.6."""


class Difference(NamedTuple):
    """A case that went otherwise than expected; None: there is none on that side."""

    case: str
    expected: Result | None
    found: Result | None

    def __str__(self) -> str:
        return (
            f"case {self.case}: expected {self.expected or 'no such case'}; found {self.found or 'no result'}"
        )


def order(case: str) -> list[int]:
    """Sorts cases as people do."""
    return [int(number) for number in case.split(".")]


def reported(folder: Path) -> dict[str, Result]:
    """What a fuzzing peer has written down; it plays for one agent only."""
    agents = json.loads((folder / "index.json").read_text())
    return {
        case: Result(report["behavior"], report["behaviorClose"], report["remoteCloseCode"])
        for cases in agents.values()
        for case, report in cases.items()
    }


def expected(role: str) -> dict[str, Result]:
    """What was checked in."""
    path = EXPECTED / f"{role}.json"
    if not path.exists():
        return {}
    return {case: Result(*result) for case, result in json.loads(path.read_text()).items()}


def accept(role: str, results: Results) -> None:
    """What was found is expected from now on: one line for each case, so that a change reads well."""
    lines = (f"  {json.dumps(case)}: {json.dumps(results[case])}" for case in sorted(results, key=order))
    EXPECTED.mkdir(exist_ok=True)
    (EXPECTED / f"{role}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def differences(role: str, found: Results, cases: Iterable[str]) -> list[Difference]:
    """The cases, of those that were to be played, that went otherwise."""
    wanted = expected(role)
    return [
        Difference(case, wanted.get(case), found.get(case))
        for case in sorted(set(cases), key=order)
        if wanted.get(case) != found.get(case)
    ]
