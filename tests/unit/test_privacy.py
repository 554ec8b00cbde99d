"""How addresses and the words of peers are shown to people."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import pytest

import streamconductor as sc
from streamconductor import entry_log
from streamconductor.config_keywords import PrivacyName
from streamconductor.entry_log import EntryLog
from streamconductor.privacy import one_line, shown_address


@pytest.mark.parametrize(
    ("address", "full", "prefix"),
    [
        ("203.0.113.77", "203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("2001:DB8::1", "2001:db8::1", "2001:db8::/48"),
        ("::ffff:203.0.113.77", "203.0.113.77", "203.0.113.0/24"),
        ("::1", "::1", "::/48"),
        (None, "a Unix socket", "a Unix socket"),
    ],
)
def test_an_address_in_full_and_by_its_prefix(address: str | None, full: str, prefix: str) -> None:
    assert shown_address(address, "full") == full
    assert shown_address(address, "prefix") == prefix


def test_a_hash_is_the_same_word_for_the_same_address_in_this_process_only() -> None:
    shown = shown_address("203.0.113.77", "hash")
    assert re.fullmatch("[0-9a-f]{12}", shown)
    assert shown_address("::ffff:203.0.113.77", "hash") == shown
    assert shown_address("203.0.113.78", "hash") != shown
    assert (
        len({shown_address(f"10.0.{one}.{other}", "hash") for one in range(20) for other in range(250)})
        == 5_000
    )
    program = (
        "from streamconductor.privacy import shown_address; print(shown_address('203.0.113.77', 'hash'))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.fullmatch("[0-9a-f]{12}", elsewhere.stdout.strip())
    assert elsewhere.stdout.strip() != shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, naïve ✓", "plain words, naïve ✓"),
        ("a\r\nERROR b", "a\\r\\nERROR b"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x00\x7f\x85\u2028\u202e", "\\x00\\x7f\\x85\\u2028\\u202e"),
        ("", ""),
    ],
)
def test_what_a_peer_says_stays_on_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown
    error = sc.ConnectionClosed.of(4_000, text)
    assert str(error) == f"connection closed by the peer with 4000, {shown}".removesuffix(", ")
    # The application gets what was said.
    assert error.reason == text


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(entry_log, "time", clock)
    return clock


def test_one_line_for_many_refusals_of_a_kind(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streamconductor")
    log = EntryLog(sc.Config(address_privacy="prefix"))
    log.refused("full", 503, "all connections are taken (max_connections)", "203.0.113.7", 0)
    # What other shards say of the same, in the next seconds.
    log.refused("full", 503, "all connections are taken (max_connections)", "203.0.113.8", 0)
    log.refused("full", 503, "the memory budget is nearly used up (memory_budget)", "203.0.113.9", 41)
    log.refused("malformed", 400, "no Host", None, 0)
    clock.now += 10
    log.refused("full", 503, "all connections are taken (max_connections)", "198.51.100.1", 7)
    clock.now += 10
    log.refused("full", 503, "all connections are taken (max_connections)", "198.51.100.1", 0)
    taken = "with 503: all connections are taken (max_connections)"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"refused a handshake from 203.0.113.0/24 {taken}"),
        ("INFO", "refused a handshake from a Unix socket with 400: no Host"),
        # Two of other shards, what was behind the second of them, and what this shard says itself.
        (
            "WARNING",
            f"refused a handshake from 198.51.100.0/24 {taken}; 50 more (full) since the last such line",
        ),
        ("WARNING", f"refused a handshake from 198.51.100.0/24 {taken}"),
    ]


@pytest.mark.parametrize(
    ("outcome", "status", "level"),
    [
        ("address", 429, "WARNING"),
        ("rate", 429, "WARNING"),
        ("user", 429, "WARNING"),
        ("timed_out", 503, "WARNING"),
        ("origin", 403, "WARNING"),
        ("rejected", 401, "INFO"),
        ("timed_out", 408, "INFO"),
        ("malformed", 404, "INFO"),
    ],
)
def test_what_an_operator_can_mend_is_a_warning(
    outcome: str, status: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamconductor")
    EntryLog(sc.Config()).refused(outcome, status, "", "203.0.113.7", 0)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        level,
        f"refused a handshake from 203.0.113.7 with {status}: on_connect said so",
    )


@pytest.mark.parametrize(
    ("form", "address", "told"),
    [
        ("full", "203.0.113.7", "Config(trusted_proxies=['203.0.113.7'])"),
        ("prefix", "203.0.113.7", "Config(trusted_proxies=['203.0.113.0/24'])"),
        ("hash", "203.0.113.7", "Config(trusted_proxies=['<its network>'])"),
        ("full", None, "Config(trusted_proxies=['unix'])"),
    ],
)
def test_an_unlisted_proxy_is_told_once_with_the_line_to_paste(
    form: PrivacyName, address: str | None, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = EntryLog(sc.Config(address_privacy=form))
    for _ in range(3):
        log.forwarding_ignored(address)
    (record,) = caplog.records
    assert told in record.getMessage()
    assert (form == "full") or "203.0.113.7" not in record.getMessage()
