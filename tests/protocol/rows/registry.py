"""Receives the rows of hostile input that the other files here write down · hands them to the test that runs them and
to the document that lists them · owns their names and what a case is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.raw import Headers

if TYPE_CHECKING:
    from tests.protocol.rows.stage import Stage

Run = Callable[["Stage"], None]
MIB = 1 << 20
BOTH = ("tcp", "tls")


@dataclass(frozen=True)
class Profile:
    """The settings of the server that a case needs; a server is started for each.

    Attributes:
        settings: keywords of `Config`, above those that all of them have.
        has_on_connect: Python is asked about each newcomer.
        descriptors: as many descriptors as its process may have; 0: as many as the system gives.
        made: settings that are known at run time only, such as files.
        headers: what a peer that means well sends with its upgrade.
    """

    name: str
    settings: Mapping[str, Any]
    has_on_connect: bool = False
    descriptors: int = 0
    made: Callable[[], Mapping[str, Any]] = dict
    headers: Callable[[], Headers] = tuple


@dataclass(frozen=True)
class Ending:
    """How the application is told that a connection ended."""

    code: int
    name: str
    by: str


VIOLATION = "violation"


@dataclass(frozen=True)
class Case:
    """One hostile input, tried again and again.

    Attributes:
        run: does it once, and fails where the answer is not the expected one.
        cost: what a run costs, in runs of a cheap case; it is repeated less often by that factor.
        least: runs at least, however dear it is; below 2 only where one run holds a thousand peers.
        ending: how each of the connections that a run makes ends; None: the case looks itself, or makes none.
        errors: exceptions that the application raises in a run, each of which is logged once.
        growth: bytes of memory by which the process may be larger after the repetitions than before.
    """

    row: str
    title: str
    run: Run
    profile: Profile
    cost: int = 1
    least: int = 2
    ending: Ending | None = None
    errors: int = 0
    growth: int = 8 * MIB
    transports: tuple[str, ...] = BOTH

    @property
    def name(self) -> str:
        """What the test of it is called behind the transport; ``pytest -k H7-`` finds all of a row."""
        return f"{self.row}-{self.title}"


@dataclass
class Row:
    """One row of the list of hostile input.

    Attributes:
        name: H for what comes before the 101, F for frames.
        input: what a hostile peer does.
        expectation: what becomes of it.
    """

    name: str
    input: str
    expectation: str
    cases: list[Case] = field(default_factory=list)

    def add(self, title: str, run: Run, profile: Profile, **more: Any) -> None:
        """One more case."""
        self.cases.append(Case(self.name, title, run, profile, **more))

    def case(self, title: str, profile: Profile, **more: Any) -> Callable[[Run], Run]:
        """Decorates the function that is one more case."""

        def register(run: Run) -> Run:
            self.add(title, run, profile, **more)
            return run

        return register


ROWS: dict[str, Row] = {}


def row(name: str, input: str, expectation: str) -> Row:
    """A new row."""
    assert name not in ROWS, f"{name} has two homes"
    ROWS[name] = Row(name, input, expectation)
    return ROWS[name]
