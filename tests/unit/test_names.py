"""The public names: those that users rely on are there and are what they are called for, and each is described."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import streamconductor as sc

COROUTINE, PLAIN, VALUE, ITERATION = "coroutine function", "plain function", "value", "async iteration"

# What may be called how: `(…)` is what must be accepted, by name where a keyword stands.
FIXED: list[tuple[object, str, str, str]] = [
    (sc, "run", PLAIN, "(server)"),
    (sc, "serve", PLAIN, "(handler, host, port)"),
    (sc, "broadcast", PLAIN, "(connections, message)"),
    (sc.Server, "__init__", PLAIN, "(config, pool_policy)"),
    (sc.Server, "__aenter__", COROUTINE, "()"),
    (sc.Server, "__aexit__", COROUTINE, "(kind, error, trace)"),
    (sc.Server, "serve_forever", COROUTINE, "()"),
    (sc.Server, "wait_closed", COROUTINE, "()"),
    (sc.Server, "shutdown", COROUTINE, "(grace)"),
    (sc.Server, "port", VALUE, ""),
    (sc.Server(), "admin_port", VALUE, ""),
    (sc.Server, "route", PLAIN, "(path, subprotocols=)"),
    (sc.Server, "on_connect", PLAIN, "(function)"),
    (sc.Server, "on_message", PLAIN, "(path)"),
    (sc.Server, "on_close", PLAIN, "(function)"),
    (sc.Server, "on_health", PLAIN, "(name, interval=, timeout=, required=)"),
    (sc.Server, "on_backpressure", PLAIN, "(function)"),
    (sc.Server, "channel", PLAIN, "(pattern, overflow=, high_water=)"),
    (sc.Server, "publish", COROUTINE, "(channel, payload, key=)"),
    (sc.Server, "publish_nowait", PLAIN, "(channel, payload, key=)"),
    (sc.Server, "broadcast", COROUTINE, "(payload, to=, user=, exclude=)"),
    (sc.Server, "connections", PLAIN, "(user=, channel=, path=)"),
    (sc.Server, "connection", PLAIN, "(id)"),
    (sc.Server, "disconnect", PLAIN, "(user=)"),
    (sc.Server, "feed", PLAIN, "(source)"),
    (sc.Server, "reconfigure", PLAIN, "(max_connections=)"),
    (sc.Server, "status", PLAIN, "()"),
    (sc.Server, "metrics", PLAIN, "()"),
    (sc.Server, "pool", VALUE, ""),
    (sc.Connection, "id", VALUE, ""),
    (sc.Connection, "user", VALUE, ""),
    (sc.Connection, "context", VALUE, ""),
    (sc.Connection, "state", VALUE, ""),
    (sc.Connection, "latency", VALUE, ""),
    (sc.Connection, "buffered_amount", VALUE, ""),
    (sc.Connection, "dropped", VALUE, ""),
    (sc.Connection, "request", VALUE, ""),
    (sc.Connection, "subprotocol", VALUE, ""),
    (sc.Connection, "remote_address", VALUE, ""),
    (sc.Connection, "close_code", VALUE, ""),
    (sc.Connection, "close_reason", VALUE, ""),
    (sc.Connection, "__aiter__", PLAIN, "()"),
    (sc.Connection, "__anext__", COROUTINE, "()"),
    (sc.Connection, "recv", COROUTINE, "()"),
    (sc.Connection, "send", COROUTINE, "(message)"),
    (sc.Connection, "send_nowait", PLAIN, "(message)"),
    (sc.Connection, "messages", ITERATION, "(model)"),
    (sc.Connection, "drain", COROUTINE, "()"),
    (sc.Connection, "subscribe", PLAIN, "(channel, first)"),
    (sc.Connection, "unsubscribe", PLAIN, "(channel)"),
    (sc.Connection, "close", PLAIN, "(code, reason)"),
    (sc.Connection, "create_task", PLAIN, "(coroutine)"),
    (sc.Request, "bearer_token", VALUE, ""),
    (sc.Request, "path_params", VALUE, ""),
    (sc.Accept, "__init__", PLAIN, "(user=, context=, priority=, subscribe=)"),
    (sc.Reject, "__init__", PLAIN, "(status, reason)"),
    (sc.Health, "ok", PLAIN, "(lag_ms=)"),
    (sc.PoolPolicy, "admit", COROUTINE, "(request, pool)"),
    (sc.PoolPolicy, "evict", COROUTINE, "(request, pool, candidates)"),
]


@pytest.mark.parametrize(
    ("owner", "name", "kind", "call"), FIXED, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_fixed_name_is_there_and_is_called_as_designed(
    owner: object, name: str, kind: str, call: str
) -> None:
    found = getattr(owner, name)

    assert _kind(found) == kind
    if call:
        positional = [argument for argument in _arguments(call) if not argument.endswith("=")]
        keywords = [argument.removesuffix("=") for argument in _arguments(call) if argument.endswith("=")]
        is_bound = inspect.ismethod(found) or isinstance(owner, ModuleType)
        signature = inspect.signature(found)
        names = list(signature.parameters)[0 if is_bound else 1 :]
        assert names[: len(positional)] == positional
        signature.bind_partial(*([] if is_bound else [None]), *positional, **dict.fromkeys(keywords))


def _arguments(call: str) -> list[str]:
    return re.findall(r"[\w]+=?", call)


def _kind(found: object) -> str:
    if inspect.iscoroutinefunction(found):
        return COROUTINE
    if inspect.isasyncgenfunction(found):
        return ITERATION
    return PLAIN if inspect.isroutine(found) else VALUE


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("ConnectionClosedOK", [sc.ConnectionClosed]),
        ("ConnectionClosedError", [sc.ConnectionClosed]),
        ("MessageTooBig", [ValueError]),
        ("ConfigError", [ValueError]),
        ("BindError", [OSError]),
        ("Overloaded", []),
        ("Full", []),
    ],
)
def test_every_error_is_one_of_the_package(name: str, bases: list[type]) -> None:
    assert issubclass(getattr(sc, name), (sc.StreamConductorError, *bases))
    assert all(issubclass(getattr(sc, name), base) for base in bases)


def test_all_is_what_can_be_imported() -> None:
    importable = {
        name for name, value in vars(sc).items() if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert importable | {"__version__"} == set(sc.__all__)
    assert sc.__all__ == sorted(sc.__all__)


# Descriptions.


# What other packages ask of their subclasses.
FOREIGN = {"settings_customise_sources"}


def _public() -> Iterator[tuple[str, Any]]:
    """Every public class and function, and every method and property of theirs, by its full name."""
    for name in sc.__all__:
        value = getattr(sc, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            yield name, value
        if inspect.isclass(value):
            for member in dir(value):
                found = inspect.getattr_static(value, member)
                if not member.startswith("_") and member not in FOREIGN and _is_ours(value, member):
                    yield (
                        f"{name}.{member}",
                        found.__func__ if isinstance(found, classmethod | staticmethod) else found,
                    )


def _is_ours(kind: type, member: str) -> bool:
    """Whether it is a method or property that a class of this package defines."""
    definer = next(base for base in kind.__mro__ if member in vars(base))
    found = vars(definer)[member]
    is_described = isinstance(found, property | classmethod | staticmethod) or inspect.isroutine(found)
    return definer.__module__.startswith("streamconductor") and is_described


PUBLIC = dict(_public())
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}


def test_everything_public_is_described() -> None:
    assert len(PUBLIC) > 100
    assert [name for name, value in PUBLIC.items() if not value.__doc__] == []


def test_every_parameter_is_described() -> None:
    silent = {name: _undescribed(name, function) for name, function in FUNCTIONS.items()}

    assert {name: parameters for name, parameters in silent.items() if parameters} == {}


def test_every_parameter_of_a_class_is_described() -> None:
    made_by_users = [sc.Server, sc.Accept, sc.Reject]
    silent = {kind.__name__: _undescribed(kind.__name__, kind) for kind in made_by_users}

    assert {name: parameters for name, parameters in silent.items() if parameters} == {}


def _undescribed(name: str, function: Callable[..., Any]) -> list[str]:
    """Parameters that have no line, or mention, in its description, nor in that of the call that it is like."""
    text = function.__doc__ or ""
    for other in re.findall(r"(?:[Aa]s|as in|those of) `(\w+)`", text):
        like = PUBLIC.get(f"{name.rpartition('.')[0]}.{other}") or PUBLIC.get(other)
        text += getattr(like, "__doc__", None) or ""
    # What a decorator decorates is what its first words speak of.
    told = {"self", "cls", "function"} if text.startswith("Decorates") else {"self", "cls"}
    parameters = [each for each in inspect.signature(function).parameters if each not in told]
    return [each for each in parameters if not re.search(rf"`{each}`|^ +{each}: ", text, re.MULTILINE)]
