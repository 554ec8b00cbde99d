"""The load generator's Python side: conditions, plans, what is shown."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from streamconductor import load
from streamconductor.load.expectations import NAMES
from streamconductor.load.progress import rates
from streamconductor.load.table import rows

LATENCY = {"p50_us": 1e3, "p90_us": 2e3, "p99_us": 5e4, "p999_us": 6e4, "max_us": 7e4, "mean_us": 1.5e3}
SAMPLE: dict[str, Any] = LATENCY | {
    "at_seconds": 1.0,
    "phase": "window",
    "messages_per_second": 1234.5,
    "connections": 3,
    "in_flight": 1,
    "errors": 0,
    "late_us": None,
    "server_load": 0.5,
    "client_load": 0.25,
    "rss_bytes": 2**20,
    "kernel_socket_bytes": 4096,
}
PLAN = load.Plan("echo", "ws://h/")
DOCUMENT: dict[str, Any] = LATENCY | {
    "scenario": "echo",
    "messages": 1000,
    "seconds": 2.0,
    "messages_per_second": 500.0,
    "cpu_us_per_message": 7.5,
    "server_load": 0.5,
    "client_load": 0.25,
    "rss_bytes": 2 * 2**20,
    "rss_before_bytes": 2**20,
    "kernel_socket_bytes": 8192,
    "kernel_socket_before_bytes": 4096,
    "connections": 2,
    "errors": 0,
    "lost": 0,
    "faults": {"refused": 0, "timed_out": 0, "ended": 0, "violations": 0, "wrong": 0, "lost": 0, "texts": []},
    "opening": LATENCY | {"opened": 2, "seconds": 0.1},
    "late_us": None,
    "is_interrupted": False,
    "storm": {"all_back_seconds": [0.5, 0.25], "retries": 0, "missing": 0},
    "distribution": [[50.0, 1e3], [100.0, 7e4]],
    "samples": [SAMPLE],
    "plan": json.loads(PLAN.to_json()),
}
REPORT = load.Report.from_json(json.dumps(DOCUMENT | {"slow": None, "server_pings": None}))


@pytest.mark.parametrize(
    "text",
    [
        "p99<50.1ms", "p99 <= 0.05s", "p50>900us", "max<1s", "throughput>=500", "throughput<0.6k", "rss<3MiB",
        "cpu<8us", "errors=0", "lost==0", "messages<1M", "client_load<0.5", "back<=500ms", "open_p99<1s",
        "throughput>100/s",
    ],
)  # fmt: skip
def test_a_condition_that_holds(text: str) -> None:
    assert load.Expectation.read(text).problem(REPORT) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p99<50ms", "expected p99<50ms: p99 is 50ms"),
        ("p50>=1s", "expected p50>=1s: p50 is 1ms"),
        ("throughput>1k", "expected throughput>1k: throughput is 500"),
        ("rss<1MiB", "expected rss<1MiB: rss is 2MiB"),
        ("late<1s", "expected late<1s: late was not measured"),
    ],
)
def test_a_condition_that_does_not_hold_says_what_is(text: str, said: str) -> None:
    assert load.Expectation.read(text).problem(REPORT) == said


@pytest.mark.parametrize(
    "text", ["", "p99", "p99<", "p99<50", "p99<50parsecs", "speed>1", "rss<x", "errors<0ms", "p99!1s"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        load.Expectation.read(text)


def test_a_report_survives_being_written() -> None:
    assert load.Report.from_json(REPORT.to_json()) == REPORT
    assert (REPORT.plan, REPORT.samples[0].server_load) == (replace(PLAN, **_lists(PLAN)), 0.5)
    assert REPORT.storm is not None
    assert REPORT.storm.all_back_seconds == [0.5, 0.25]


def _lists(plan: load.Plan) -> dict[str, Any]:
    """What JSON makes of its sequences."""
    return {field.name: [] for field in fields(plan) if getattr(plan, field.name) == ()}


def test_the_generator_knows_every_field_of_a_plan() -> None:
    plan = replace(PLAN, url="ws://127.0.0.1:1/", open_timeout=1.0, connections=1)
    with pytest.raises(RuntimeError, match=r"opening ws://127\.0\.0\.1:1/"):
        load.run(plan)
    with pytest.raises(ValueError, match="connections is 0; it must be at least 1"):
        load.Run(replace(plan, connections=0))


def test_people_see_what_was_measured_and_nothing_else() -> None:
    shown = dict(rows(REPORT))
    assert shown["round trips"] == "1,000 in 2.00 s"
    assert shown["latency p99"] == "50.000 ms"
    assert shown["all back after"] == "0.500 s, 0.250 s; 0 retries"
    assert shown["server RSS"] == "2.0 MiB, 1.0 before, 512.00 KiB a connection"
    assert "sent late, at most" not in shown
    assert "bottleneck" in dict(rows(replace(REPORT, client_load=0.95)))["client CPU"]
    snapshot = load.Snapshot("window", 1.0, 3, 10, 2, load.Sample.read(SAMPLE))
    assert rates(snapshot) == "3 open  1,234/s  p50 1.00 ms, p99 50.00 ms  cpu 0.50  rss 1.0 MiB  2 errors"


def test_the_document_names_every_option_condition_and_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "load.md").read_text()
    words = set(re.findall(r"[\w-]+", text))
    assert [name for name in NAMES if name not in words] == []
    assert [name for name in load.SCENARIOS if f"`{name}`" not in text] == []
    named = [field.name for field in fields(load.Report) if field.name != "document"]
    named += [field.name for field in fields(load.Sample)]
    assert [name for name in named if name not in words] == []
    renamed = {
        "url": None,
        "headers": "header",
        "subprotocols": "subprotocol",
        "sources": "source",
        "pids": "pid",
    }
    for field in fields(load.Plan):
        option = renamed.get(field.name, field.name)
        assert option is None or option == "scenario" or f"`--{option.replace('_', '-')}" in text, option
