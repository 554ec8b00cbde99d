from __future__ import annotations

import copy
import pickle

import pytest

from streamconductor import errors
from streamconductor.errors import (
    BindError,
    Close,
    ConfigError,
    ConfigWarning,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    ForkedProcess,
    Full,
    HandshakeRefused,
    InvalidMessage,
    MessageTooBig,
    NotRunning,
    OpeningError,
    OpeningTimeout,
    Overloaded,
    StreamConductorError,
    Unreachable,
    UnsupportedEventLoop,
    WrongMessageType,
    WrongThread,
)

SAMPLES: list[Exception] = [
    ConfigError(["port = 70000 must be at most 65535", "another"]),
    ConnectionClosedOK(1001, "idle: no message for 1s", "server"),
    ConnectionClosedError(1006, "", "peer"),
    Full(100, 20, 110),
    Overloaded(9, 8),
    MessageTooBig(3, 2),
    WrongMessageType("binary"),
    InvalidMessage("bad"),
    WrongThread("publish"),
    ForkedProcess(),
    UnsupportedEventLoop("trio"),
    NotRunning("publish", "stopped"),
    BindError(98, "Address already in use", "127.0.0.1:8000"),
    OpeningError("example.com: TLS failed: expired"),
    OpeningTimeout("example.com: not open within 5 s"),
    Unreachable("example.com cannot be reached"),
    HandshakeRefused("example.com answered 503", 503, 2.0, (("server", "other"),), b"full"),
]


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_has_the_base_and_survives_copying_and_pickling(error: Exception) -> None:
    assert isinstance(error, StreamConductorError)
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert str(other) == str(error) != ""
        assert vars(other) == vars(error)


def test_there_is_a_sample_of_every_error_and_the_docstring_lists_it() -> None:
    abstract = {"StreamConductorError", "ConnectionClosed", "MessageRefused", "ConfigWarning", "Close"}
    assert {type(error).__name__ for error in SAMPLES} == set(errors.__all__) - abstract
    for name in set(errors.__all__) - {"Close"}:
        assert f"`{name}`" in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (ConfigError, ValueError),
        (MessageTooBig, ValueError),
        (InvalidMessage, ValueError),
        (WrongThread, RuntimeError),
        (ForkedProcess, RuntimeError),
        (UnsupportedEventLoop, RuntimeError),
        (NotRunning, RuntimeError),
        (BindError, OSError),
        (ConfigWarning, UserWarning),
        (OpeningTimeout, TimeoutError),
        (Unreachable, ConnectionError),
    ],
)
def test_each_is_also_what_the_standard_library_would_raise(
    kind: type[Exception], other: type[Exception]
) -> None:
    assert issubclass(kind, other)


@pytest.mark.parametrize("code", [1000, 1001, 1005])
def test_peaceful_endings(code: int) -> None:
    assert type(ConnectionClosed.of(code)) is ConnectionClosedOK


@pytest.mark.parametrize("code", [1002, 1006, 1011, 1012, 4000, 4008])
def test_other_endings(code: int) -> None:
    assert type(ConnectionClosed.of(code)) is ConnectionClosedError


def test_who_closed_and_how() -> None:
    ours = ConnectionClosed.of(4008, "slow consumer", "server")
    theirs = ConnectionClosed.of(1000, "bye", "peer")
    lost = ConnectionClosed.of(1006, "connection lost", "peer")
    assert (ours.code, ours.reason, ours.by) == (4008, "slow consumer", "server")
    assert (ours.sent, ours.rcvd) == (Close(4008, "slow consumer"), None)
    assert (theirs.sent, theirs.rcvd) == (None, Close(1000, "bye"))
    assert (lost.sent, lost.rcvd) == (None, None)
    assert str(ours) == "connection closed by the server with 4008, slow consumer"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Full(100, 20, 110), ["100", "20", "110", "Config.max_buffered"]),
        (Overloaded(9, 8), ["9", "8", "Config.threads"]),
        (MessageTooBig(33, 22), ["33", "22", "Config.max_buffered"]),
        (WrongThread("subscribe"), ["subscribe", "publish_nowait"]),
        (NotRunning("publish", "stopped"), ["publish", "stopped", "async with"]),
        (BindError(98, "Address already in use", "[::1]:80"), ["[::1]:80", "already in use", "Config.port"]),
        (
            BindError(-2, "the name has no address", "nowhere.test"),
            ["nowhere.test", "no address", "Config.host"],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_say_value_limit_and_option(error: Exception, told: list[str]) -> None:
    for part in told:
        assert part in str(error)


def test_bind_errors_keep_what_os_errors_have() -> None:
    error = BindError(98, "Address already in use", "127.0.0.1:80")
    assert (error.errno, error.strerror, error.filename) == (98, "Address already in use", "127.0.0.1:80")


def test_refused_messages_carry_their_close_code() -> None:
    assert (WrongMessageType.code, InvalidMessage.code) == (1003, 1007)
    assert WrongMessageType("binary").reason == "binary"


def test_config_errors_list_their_problems() -> None:
    assert ConfigError(["a", "b"]).problems == ("a", "b")
    assert str(ConfigError("one")) == "one"
