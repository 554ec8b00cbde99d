"""`streamconductor load`, as a shell sees it, against a server of ours and one of `websockets`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from streamconductor.load import SCENARIOS, Plan, Report, Snapshot
from streamconductor.load import run as run_plan
from tests.support.load_servers import STALL, ours, theirs
from tests.support.programs import Program
from tests.support.transport import authority

LOAD = (sys.executable, "-m", "streamconductor", "load")
QUICK = ("--seconds", "0.4", "--warm-up", "0.1", "--drain", "5s")

SERVERS: dict[str, Callable[[], AbstractContextManager[tuple[str, Any]]]] = {
    "ours": ours,
    "websockets": theirs,
}


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server's URL, without a path."""
    with SERVERS[request.param]() as (url, _):
        yield url


def load(*words: str) -> tuple[int, Report, str]:
    """Exit code, report and what was said on standard error."""
    code, out, err = load_text(*words, *QUICK, "--json", "-", "-q")
    assert out.count("\n") == 1, (out, err)
    return code, Report.from_json(out), err


def load_text(*words: str) -> tuple[int, str, str]:
    done = subprocess.run([*LOAD, *words], capture_output=True, text=True, timeout=50)
    return done.returncode, done.stdout, done.stderr


PATHS = {"fanout": "/fanout", "slow": "/fanout"}
WORDS: dict[str, tuple[str, ...]] = {
    "echo": ("--connections", "20", "--in-flight", "3"),
    "fanout": ("--connections", "50"),
    "handshake": ("--connections", "2"),
    "idle": ("--connections", "50", "--ping-interval", "100ms"),
    "slow": ("--connections", "50", "--slow", "10", "--rate", "50", "--size", "2KiB"),
    "churn": ("--connections", "20", "--rate", "100"),
    "reconnect-storm": ("--connections", "50", "--pause", "50ms"),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_against_either_server(url: str, scenario: str) -> None:
    code, report, err = load(
        scenario, url + PATHS.get(scenario, "/echo"), *WORDS[scenario], "--pid", str(os.getpid())
    )

    assert (code, err, report.errors) == (0, "", 0), report.faults
    assert report.scenario == scenario
    assert report.messages > 0
    assert report.messages_per_second == pytest.approx(report.messages / report.seconds)
    assert 0.4 <= report.seconds < 5
    assert report.p50_us is not None
    assert report.p99_us is not None
    assert report.max_us is not None
    assert 0 < report.p50_us <= report.p99_us <= report.max_us
    assert report.cpu_us_per_message is not None
    assert report.cpu_us_per_message > 0
    assert report.rss_bytes is not None
    assert report.rss_bytes > 2**20
    assert report.kernel_socket_bytes is not None
    assert report.client_load is not None
    assert report.opening.opened >= int(WORDS[scenario][1])
    assert [sample for sample in report.samples if sample.phase == "window"]
    assert report.plan == Plan.from_object(report.document["plan"])
    connections = {"fanout": 51, "slow": 51, "handshake": None, "churn": None}.get(
        scenario, int(WORDS[scenario][1])
    )
    assert connections in (None, report.connections) or scenario == "reconnect-storm"
    if scenario == "slow":
        assert report.slow is not None
        assert (report.slow.connections, report.slow.messages) == (10, 0)
        # To the others; the window may end within a publication, whose rest is awaited and was no error.
        assert report.messages >= 40
    if scenario == "reconnect-storm":
        assert report.storm is not None
        assert report.storm.missing == 0
        assert all(seconds > 0 for seconds in report.storm.all_back_seconds)


def test_the_interface_that_other_programs_read(url: str) -> None:
    code, out, _ = load_text(
        "echo", f"{url}/echo", "-c", "2", *QUICK, "--pid", str(os.getpid()), "--json", "-", "-q"
    )

    assert code == 0
    document = json.loads(out)
    integers = ("messages", "rss_bytes", "kernel_socket_bytes", "connections", "errors")
    numbers = (
        "seconds",
        "messages_per_second",
        "p50_us",
        "p99_us",
        "cpu_us_per_message",
        "server_load",
        "client_load",
    )
    assert {name: type(document[name]) for name in integers} == dict.fromkeys(integers, int)
    assert {name: type(document[name]) for name in numbers} == dict.fromkeys(numbers, float)


def test_slow_readers_that_read_a_little_get_some_in_order() -> None:
    with theirs() as (url, _):
        words = (
            "--connections",
            "10",
            "--slow",
            "5",
            "--slow-rate",
            "50kB",
            "--rate",
            "200",
            "--size",
            "1KiB",
        )
        code, report, err = load("slow", f"{url}/fanout", *words)

    assert (code, err) == (0, "")
    assert report.slow is not None
    assert 0 < report.slow.messages < report.messages


def test_a_server_that_answers_wrongly_is_found_out() -> None:
    with theirs() as (url, _):
        code, report, err = load("echo", f"{url}/wrong", "--connections", "2")

    assert code == 1
    assert (report.faults.wrong, report.connections) == (2, 0)
    assert "not what was sent" in err
    assert "not this" in report.faults.texts[0]


MORTAL = """
import asyncio
from websockets.asyncio.server import serve

async def echo(connection):
    told = False
    async for message in connection:
        await connection.send(message)
        if not told:
            print("echoed", flush=True)
        told = True

async def main():
    async with serve(echo, "127.0.0.1", 0) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
"""


def test_a_server_that_dies_is_reported_and_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with Program("-c", MORTAL, cwd=tmp_path) as serving:
        port = serving.line(r"^(\d+)$")[1]
        words = ("-m", "streamconductor", "load", "echo", f"ws://127.0.0.1:{port}/echo", "--seconds", "60")
        options = ("--pid", str(serving.pid), "--json", str(file), "--warm-up", "0", "--connections", "5")
        with Program(*words, *options, cwd=tmp_path) as running:
            for number in range(5):
                serving.line("^echoed", after=1 + number)
            serving.send(signal.SIGKILL)
            assert running.wait() == 1
            assert any("errors; the first" in line for line in running.output), running.output
    report = Report.from_json(file.read_text())
    assert report.faults.ended == 5
    assert report.lost == 5
    assert (report.connections, report.is_interrupted) == (0, False)
    assert report.seconds < 50
    # It is not there any more to be asked.
    assert report.rss_bytes is None


def until_connected(server: int, client: int, connections: int) -> None:
    """Waits until a client has so many connections: by its descriptors, which nobody else tells."""
    deadline = time.monotonic() + 10
    while sum(1 for each in Path(f"/proc/{client}/fd").iterdir() if is_socket(each)) < connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_socket(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor).startswith("socket:")
    except OSError:
        return False


def test_nobody_there_is_said_in_one_line() -> None:
    with theirs() as (url, _):
        pass
    code, out, err = load_text("echo", f"{url}/echo", "--json", "-")

    assert (code, out) == (1, "")
    assert err.startswith("streamconductor: opening ws://127.0.0.1:")
    assert "refused" in err
    assert err.count("\n") == 1


def test_at_a_fixed_rate_a_stall_is_in_the_percentiles() -> None:
    with theirs() as (url, peers):
        code, out, err = load_text(
            *("echo", f"{url}/stall", "-c", "4", "--rate", "200", "--seconds", "2", "--warm-up", "0"),
            *("--json", "-", "-q", "--expect", "p99>800ms", "--expect", "p50<10s"),
        )

    assert peers.stalls == 0
    report = Report.from_json(out)
    assert (code, err, report.errors) == (0, "", 0)
    assert report.max_us is not None
    assert report.max_us > STALL * 0.95e6
    assert report.late_us is not None
    # About 400 were due, half of them while it stood still; it answered them all.
    assert sum(sample.messages_per_second for sample in report.samples) > 0


def test_expectations_decide_on_the_exit_code() -> None:
    with theirs() as (url, _):
        good = ("--expect", "p99<60s", "--expect", "throughput>1", "--expect", "errors=0")
        code, report, err = load("echo", f"{url}/echo", "-c", "2", *good)
        assert (code, err) == (0, "")

        code, report, err = load(
            "echo", f"{url}/echo", "-c", "2", "--expect", "p50<1us", "--expect", "rss<1GiB"
        )
        assert code == 1
        first, second = err.splitlines()
        assert first.startswith("streamconductor: expected p50<1us: p50 is ")
        assert "rss was not measured; name the server's processes with --pid" in second

        code, report, err = load("echo", f"{url}/wrong", "-c", "2", "--expect", "errors<=100")
        assert (code, report.errors > 0) == (0, True), "whoever names errors has the last word on them"


def test_ctrl_c_reports_what_was_measured_so_far(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with theirs() as (url, _):
        words = ("-m", "streamconductor", "load", "echo", f"{url}/echo", "-c", "3", "--seconds", "1h")
        with Program(*words, "--warm-up", "0", "--json", str(file), cwd=tmp_path) as running:
            until_connected(os.getpid(), running.pid, 3)
            time.sleep(0.3)
            running.send(signal.SIGINT)
            assert running.wait() == 130
            assert any(line.startswith("interrupted") for line in running.output)
            assert any(line.startswith("round trips") for line in running.output)
    report = Report.from_json(file.read_text())
    assert report.is_interrupted
    assert report.errors == 0
    assert report.seconds < 60


def test_over_tls_it_trusts_what_it_is_told_to() -> None:
    with ours(**authority().server_fields()) as (url, _):
        trusted = ("--ca", str(authority().file))
        code, report, err = load("echo", f"{url}/echo", "-c", "5", *trusted)
        assert (code, err, report.errors) == (0, "", 0)
        code, report, err = load("fanout", f"{url}/fanout", "-c", "20", "--insecure", "--tls-resume")
        assert (code, err, report.errors) == (0, "", 0)

        code, _, err = load_text("echo", f"{url}/echo", "-c", "1", *QUICK)
        assert code in (1, 2)
        assert "certificate" in err


def test_compression_is_offered_and_used() -> None:
    with theirs(compression="deflate") as (url, peers):
        code, report, err = load("echo", f"{url}/echo", "-c", "3", "--compression", "--size", "4KiB")
        assert (code, err, report.errors) == (0, "", 0)
        assert peers.extensions == {"permessage-deflate"}
        assert report.messages > 0
    with ours(compression=True) as (url, site):
        words = ("-c", "20", "--compression", "--size", "1KiB")
        code, report, err = load("fanout", f"{url}/fanout", *words)
        assert (code, err, report.errors) == (0, "", 0)
        compressed = site.call(lambda: site.server.status())["compression"]["compressed"]
        # Each publication once, however many get it.
        assert 0 < compressed["messages"] < report.messages


def test_somebody_elses_server_can_be_spoken_to() -> None:
    with theirs(subprotocols=["chat"]) as (url, peers):
        words = (
            "-c",
            "4",
            "--hello",
            '{"join": {connection}}',
            "-H",
            "Authorization: Bearer x",
            "--subprotocol",
            "chat",
        )
        code, report, err = load(
            "echo", f"{url}/hello", *words, "--source", "127.0.0.2", "--source", "127.0.0.3"
        )
        assert (code, err, report.errors) == (0, "", 0)
        assert sorted(peers.hellos) == [f'{{"join": {number}}}' for number in range(4)]
        assert peers.addresses == {"127.0.0.2", "127.0.0.3"}
        assert {headers["authorization"] for headers in peers.headers} == {"Bearer x"}
        assert peers.subprotocols == {"chat"}

    with theirs() as (url, _):
        message = ("--message", '{"n": {seq}, "at": {time}}')
        code, report, err = load("echo", f"{url}/wrapped", "-c", "2", *message, "--check", "label")
        assert (code, err, report.errors) == (0, "", 0)
        code, report, err = load("echo", f"{url}/wrapped", "-c", "2", *message)
        assert (code, report.faults.wrong) == (1, 2)


def test_people_get_a_table_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with theirs() as (url, _):
        code, out, err = load_text(
            *("echo", f"{url}/echo", "-c", "2", "--seconds", "2.5", "--warm-up", "0.1"),
            *("--html", str(page), "--pid", str(os.getpid()), "--rate", "300"),
        )

    assert (code, err) == (0, "")
    for name in (
        "round trips",
        "throughput",
        "latency p99",
        "server CPU per message",
        "server RSS",
        "errors",
    ):
        assert name in out
    text = page.read_text()
    for title in ("Latency by percentile", "Throughput", "Latency over time", "Lag", "Memory", "Processor"):
        assert f"<h2>{title}" in text
    assert text.count("<svg") >= 6
    assert not [
        word for word in ("src=", "<link", "@import", 'href="http') if word in text.replace("xlink:href", "")
    ]
    document = text.split('<script type="application/json" id="report">')[1].split("</script>")[0]
    assert Report.from_json(document).messages > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("echo", "http://127.0.0.1/"), "ws://"),
        (("echo", "ws://127.0.0.1:1/", "--rate", "5", "--in-flight", "2"), "closed"),
        (("echo", "ws://127.0.0.1:1/", "--expect", "p98<1s"), "no figure p98"),
        (("echo", "ws://127.0.0.1:1/", "--seconds", "soon"), "no duration"),
        (("fanout", "ws://127.0.0.1:1/", "--size", "4"), "16 bytes"),
        (("echo", "ws://127.0.0.1:1/", "--header", "nonsense"), "no header"),
        (("echo", "ws://127.0.0.1:1/", "--pid", "99999999"), "pid 99999999"),
        (("dance", "ws://127.0.0.1:1/"), "dance"),
    ],
)
def test_what_was_asked_wrongly_is_said(words: tuple[str, ...], said: str) -> None:
    code, out, err = load_text(*words)

    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_from_python_a_run_can_be_watched() -> None:
    seen: list[Snapshot] = []
    with theirs() as (url, _):
        report = run_plan(Plan("echo", f"{url}/echo", connections=3, warm_up=0.1, seconds=0.6), seen.append)

    assert report.errors == 0
    assert report.messages > 0
    assert {"window"} <= {snapshot.phase for snapshot in seen}
    assert max(snapshot.connections for snapshot in seen) == 3
