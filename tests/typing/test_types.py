"""mypy sees in the files of this folder what their comments say: the type behind each `reveal_type`, and, since
mypy complains of a `type: ignore` that nothing needs, each mistake that carries one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = sorted(
    path.relative_to(ROOT) for path in Path(__file__).parent.glob("*.py") if path != Path(__file__)
)

Types = dict[str, str]


def test_types_are_what_the_comments_say() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, CASES)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = run.stdout.splitlines()

    assert [line for line in said if " note: Revealed type is " not in line] == [], run.stderr
    assert run.returncode == 0, run.stderr
    assert _revealed(said) == _expected() != {}


def _expected() -> Types:
    """The comment behind each `reveal_type`, by place."""
    return {
        f"{path}:{number}": line.rpartition("  # ")[2]
        for path in CASES
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if "reveal_type(" in line
    }


def _revealed(said: list[str]) -> Types:
    """What mypy says of each, with the last part of every name."""
    notes = (re.fullmatch(r'(.+:\d+): note: Revealed type is "(.+)"', line) for line in said)
    return {note[1]: re.sub(r"\b(?:\w+\.)+(?=\w)", "", note[2]) for note in notes if note is not None}
