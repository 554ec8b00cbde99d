"""Receives nothing · hands out the settings that rows need of their server · owns which rows can share one."""

from __future__ import annotations

from tests.protocol.rows.registry import Profile

# What all of them have. Heartbeats are fast, so that the canary's are seen in short rows too, and patient, so that a
# busy machine ends nobody.
COMMON = {
    "host": "127.0.0.1",
    "port": 0,
    "threads": 2,
    # Python may be behind with the ends of connections, of which it owes at most so many.
    "max_connections": 1_000,
    "memory_budget": "4GiB",
    "ping_interval": 2.0,
    "ping_timeout": 2.9,
    "policy_timeout": 0.1,
}

LIMIT = 65_536
PLAIN = Profile("plain", {"max_message_size": LIMIT})

# Heartbeats that a row waits for.
BEATS = {"ping_interval": 1.0, "ping_timeout": 1.4}
BEATING = Profile("beating", BEATS)

# Peers that wait for a deadline together, as one at a time would take too long.
AT_ONCE = 8

# Time limits that are long by default.
HURRIED = Profile(
    "hurried",
    {
        "open_timeout": 1.0,
        "close_timeout": 0.3,
        "message_timeout": 0.5,
        "max_lag": 1.5,
        "dwell": 0.5,
        "retry_after": 7,
    },
    has_on_connect=True,
)

# A thousand peers at once, and the canary. Pings are rarer, as the last of them opens long after the first.
CROWD = Profile(
    "crowd",
    {
        "open_timeout": 2.0,
        "message_timeout": 3.0,
        "max_connections": 1_100,
        "max_pending": 1_024,
        "ping_interval": 8.0,
        "ping_timeout": 8.0,
    },
)

# The canary has one of the two slots.
FULL = Profile("full", {"max_connections": 2})
FEW_PER_ADDRESS = Profile("few per address", {"max_connections_per_address": 2})
FEW_PLACES = Profile("few places", {"max_pending": 64})
FEW_DESCRIPTORS = Profile("few descriptors", {}, descriptors=256)

LISTED = Profile("listed origins", {"origins": ["https://app.example.com"], "bearer_cookie": "session"})

COMPRESSED = Profile("compressed", {"compression": True})

FRAME_RATE = 20_000
RATES = Profile("rates", {"max_frame_rate": FRAME_RATE, "max_control_rate": None, "write_timeout": 1.0})
