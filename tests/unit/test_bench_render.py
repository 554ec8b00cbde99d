"""The page of the benchmarks says what is in the file of results, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.comparison import write
from bench.goals import CPU
from bench.render import DOCS, render
from bench.rows import ROWS

SPARSE = ROWS[0]
COSTS = {"streamconductor": 7.125, "floor": 6.5, "websockets": 13.25}


def results(rounds: int = 9, **settings: Any) -> dict[str, Any]:
    figures = {CPU: 0.0, "messages_per_second": 1e5, "p50_us": 1000.0, "p99_us": 2000.0}
    return {
        "date": "2026-11-24",
        "machine": {"processor": "a processor", "cores": 2},
        "versions": {"websockets": {"websockets": "17.4", "uvloop": "0.23.0"}},
        "missing": {"ws": "npm is not installed"},
        "settings": {
            "rounds": rounds,
            "seconds": 3.0,
            "warm_up": 1.0,
            "quick": False,
            "command": "python -m bench",
            "rows": {SPARSE.name: [*COSTS, "ws"]},
        }
        | settings,
        "records": [
            {"round": number, "row": SPARSE.name, "contender": name, "figures": {**figures, CPU: cost}}
            for number in range(1, rounds + 1)
            for name, cost in COSTS.items()
        ],
    }


def test_the_page_has_what_was_measured_and_who_is_missing() -> None:
    page, plots = render(results())
    assert "| streamconductor | 7.125 | 100,000 | 1.00 | 2.00 |" in page
    assert "| 1.10 (1.10\N{EN DASH}1.10) |" in page
    assert "| fan-out, sparse | ≤ 1.0 × the floor | 1.1 | **missed** |" in page
    assert "| ws | missing: npm is not installed |" in page
    assert "**missing: ws**: npm is not installed" in page
    assert "a processor" in page
    assert "websockets 17.4" in page
    assert "Provisional" not in page
    assert list(plots) == ["fan-out-sparse.svg"]
    assert "(benchmarks/fan-out-sparse.svg)" in page
    # Whoever did not take part is named, too.
    assert "| gws | missing: not part of this run |" in page
    assert "Rows that were not part of this run: fan-out, saturated; echo; handshake;" in page
    assert "### handshake" not in page


def test_few_rounds_and_quick_runs_are_provisional() -> None:
    assert "**Provisional**: a run of 8 rounds" in render(results(rounds=8))[0]
    assert "**Provisional**: a quick run" in render(results(rounds=9, quick=True))[0]


def test_a_plot_names_everybody_with_a_figure_and_is_the_same_each_time() -> None:
    [plot] = render(results())[1].values()
    texts = {
        element.text for element in ElementTree.fromstring(plot).iter("{http://www.w3.org/2000/svg}text")
    }
    assert {*COSTS, "7.12", "6.5", "13.2"} <= texts
    assert "ws" not in texts
    assert render(results())[1] == {"fan-out-sparse.svg": plot}


def test_the_page_in_the_repository_is_that_of_the_results_beside_it() -> None:
    run = json.loads((DOCS / "benchmarks" / "results.json").read_text())
    page, plots = render(run)
    assert (DOCS / "benchmarks.md").read_text() == page
    shown = set(re.findall(r"\(benchmarks/([\w-]+\.svg)\)", page))
    assert shown == set(plots) == {plot.name for plot in (DOCS / "benchmarks").glob("*.svg")}


def test_results_are_a_line_a_measurement_and_never_half_a_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "results.json"
    write(file, results())
    assert json.loads(file.read_text()) == {**results(), "summary": None}
    assert sum('"round"' in line for line in file.read_text().splitlines()) == len(results()["records"])
    assert list(file.parent.iterdir()) == [file]
