"""Who comes in: `on_connect`, what `Accept` gives, and the pool policy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

import streamconductor as sc
from tests.support.live import client, ending, get, server_with, until
from tests.support.raw import Peer, Response, head


async def idle(connection: sc.Connection[Any]) -> None:
    async for _ in connection:
        pass


def with_verdict(verdict: object, **settings: Any) -> sc.Server:
    """A server whose `on_connect` returns `verdict`."""
    server = server_with(**settings)
    server.route("/")(idle)
    server.on_connect(lambda request: verdict)
    return server


async def refused(server: sc.Server, path: str = "/") -> Response:
    """The response to an upgrade that does not succeed."""

    def ask() -> Response:
        with Peer(("127.0.0.1", server.port)) as peer:
            peer.send(head(path))
            return peer.response()

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_accept_gives_is_the_connection_s(is_async: bool) -> None:
    server = server_with()
    context = object()
    accept = sc.Accept(
        user="ann",
        context=context,
        priority=3,
        subprotocol="v2",
        subscribe=["news", "user:ann"],
        headers={"Set-Cookie": "seen=1"},
    )
    if is_async:

        @server.on_connect
        async def slowly(request: sc.Request) -> sc.Accept[object]:
            await asyncio.sleep(0.01)
            return accept
    else:
        server.on_connect(lambda request: accept)

    seen: list[Any] = []

    @server.route("/{name}", subprotocols=["v1", "v2"])
    async def look(connection: sc.Connection[object]) -> None:
        request = connection.request
        assert request is not None
        seen.extend([connection.user, connection.context, connection.subprotocol, request.path_params])
        seen.append(connection.remote_address == request.remote_address)
        # It has been subscribed from its first moment on: these count as its channels.
        await server.publish("news", "published")
        async for _ in connection:
            pass

    async with server, client(server, "/some%20where", subprotocols=["v1", "v2"]) as peer:
        assert peer.response is not None
        assert peer.response.headers["Set-Cookie"] == "seen=1"
        assert peer.subprotocol == "v2"
        assert await peer.recv() == "published"
        assert await server.publish("user:ann", "also") == 1
        [info] = server._native.views()  # type: ignore[union-attr]
        assert info["priority"] == 3
    assert seen == ["ann", context, "v2", {"name": "some where"}, True]


async def test_reject_is_its_status_reason_and_headers() -> None:
    server = with_verdict(sc.Reject(401, "token expired", headers={"WWW-Authenticate": "Bearer"}))
    async with server:
        answer = await refused(server)
        assert answer.status == 401
        assert b"token expired" in answer.body
        assert answer.one("WWW-Authenticate") == "Bearer"
        assert server.connections() == []
        await until(lambda: server.pool.occupied == 0)


@pytest.mark.parametrize(
    ("verdict", "complaint"),
    [
        (None, "on_connect returned NoneType"),
        (True, "on_connect returned bool"),
        (sc.Accept(subscribe="news"), "Accept.subscribe is a list"),
        (sc.Accept(subscribe=[str(number) for number in range(129)]), "max_channels is 128"),
        (sc.Accept(subscribe=[""]), "channel name"),
        (sc.Accept(user=5), "int"),  # type: ignore[arg-type]
        (sc.Accept(headers={"Bad Name": "x"}), "Bad Name"),
        (sc.Accept(headers={"Upgrade": "h2c"}), "Upgrade"),
        (sc.Accept(headers=5), "int"),  # type: ignore[arg-type]
        (sc.Reject(403, headers={"X": "new\nline"}), "X"),
        (sc.Accept(subprotocol="not offered"), "not offered"),
    ],
)
async def test_a_verdict_that_is_none_is_500_and_logged(
    verdict: object, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_verdict(verdict) as server:
        assert (await refused(server)).status == 500
        await until(lambda: server.pool.occupied == 0)
        if complaint != "not offered":
            [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert record.exc_info is not None
            assert complaint in str(record.exc_info[1])


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
async def test_raising_is_500_and_logged(
    is_async: bool, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    server = server_with()
    server.route("/")(idle)

    def plain(request: sc.Request) -> sc.Accept[None]:
        raise error("broken")

    async def slowly(request: sc.Request) -> sc.Accept[None]:
        await asyncio.sleep(0)
        raise error("broken")

    server.on_connect(slowly if is_async else plain)
    async with server:
        answer = await refused(server, "/?token=secret")
        assert answer.status == 500
        assert b"broken" not in answer.body
        assert "on_connect raised" in caplog.text
        assert "secret" not in caplog.text


async def test_being_late_is_503_and_cancels_on_connect() -> None:
    server = server_with(open_timeout=0.3, policy_timeout=0.1)
    server.route("/")(idle)
    cancelled = asyncio.Event()

    @server.on_connect
    async def slow(request: sc.Request) -> sc.Accept[None]:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return sc.Accept()

    async with server:
        answer = await refused(server)
        assert answer.status == 503
        assert answer.one("Retry-After") is not None
        async with asyncio.timeout(5):
            await cancelled.wait()
        await until(lambda: server.pool.occupied == 0)


async def test_a_client_that_goes_away_cancels_on_connect() -> None:
    server = server_with()
    server.route("/")(idle)
    asked, cancelled = asyncio.Event(), asyncio.Event()

    @server.on_connect
    async def slow(request: sc.Request) -> sc.Accept[None]:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return sc.Accept()

    async with server:
        peer = await asyncio.to_thread(Peer, ("127.0.0.1", server.port))
        peer.send(head("/"))
        async with asyncio.timeout(5):
            await asked.wait()
            assert server.pool.occupied == 1
            peer.reset()
            await cancelled.wait()
        await until(lambda: server.pool.occupied == 0)


async def test_a_verdict_that_comes_too_late_leaves_nothing_behind() -> None:
    server = server_with(open_timeout=0.2, policy_timeout=0.1)
    server.route("/")(idle)
    answered = 0

    @server.on_connect
    async def stubborn(request: sc.Request) -> sc.Accept[object]:
        nonlocal answered
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            # Swallows it, and says yes all the same.
            await asyncio.sleep(0.01)
        answered += 1
        return sc.Accept(context=object(), subscribe=["news"])

    async with server:
        assert (await refused(server)).status == 503
        await until(lambda: answered == 1)
        assert not server._arrivals._contexts
        assert not server._arrivals._waiting
        await until(lambda: not server._arrivals._tasks)
        assert server.publish_nowait("news", "x") == 0


async def test_refused_requests_are_let_go_of() -> None:
    server = server_with()
    server.route("/")(idle)
    requests: list[sc.Request] = []

    @server.on_connect
    def reject(request: sc.Request) -> sc.Reject:
        requests.append(request)
        return sc.Reject(403)

    def held_elsewhere() -> list[int]:
        # This list, the loop's variable and the argument are three.
        return [sys.getrefcount(request) - 3 for request in requests]

    async with server:
        for _ in range(10):
            assert (await refused(server)).status == 403
        await until(lambda: held_elsewhere() == [0] * 10)
        assert not server._arrivals._contexts
        assert not server._arrivals._waiting


# The pool policy.


class Policy(sc.PoolPolicy):
    """Does as it is told, and remembers what it saw."""

    def __init__(self, admits: Any = True, evicts: Any = None) -> None:
        self.admits, self.evicts = admits, evicts
        self.snapshots: list[sc.PoolSnapshot] = []
        self.candidates: list[Sequence[sc.ConnectionInfo]] = []

    async def admit(self, request: Any, pool: sc.PoolSnapshot) -> bool:
        self.snapshots.append(pool)
        return await self._answer(self.admits, request)

    async def evict(
        self, request: Any, pool: sc.PoolSnapshot, candidates: Sequence[sc.ConnectionInfo]
    ) -> str | None:
        self.candidates.append(candidates)
        return await self._answer(self.evicts, candidates)

    @staticmethod
    async def _answer(answer: Any, argument: Any) -> Any:
        if answer == "late":
            await asyncio.Event().wait()
        if isinstance(answer, BaseException):
            raise answer
        return answer(argument) if callable(answer) else answer


def with_policy(policy: Policy, **settings: Any) -> sc.Server:
    server = server_with(policy, **({"max_connections": 2, "threads": 3, "policy_timeout": 0.2} | settings))
    server.route("/")(idle)
    server.on_connect(
        lambda request: sc.Accept(user=request.query_string, priority=len(request.query_string))
    )
    return server


async def users(server: sc.Server) -> list[str | None]:
    return sorted(connection.user or "" for connection in server.connections())


async def test_a_policy_says_who_may_enter() -> None:
    policy = Policy(admits=lambda request: request.query_string == "ann")
    async with with_policy(policy) as server, client(server, "/?ann"):
        with pytest.raises(InvalidStatus) as caught:
            await client(server, "/?bob")
        assert caught.value.response.status_code == 503
        assert policy.snapshots[1].occupied == 2, "the newcomer holds a slot while it is decided about"
        assert policy.snapshots[1].max_connections == 2
        assert not policy.candidates, "there was room"
        await until(lambda: server.pool.occupied == 1)


async def test_a_policy_says_who_leaves() -> None:
    policy = Policy(
        evicts=lambda candidates: next(one.id for one in candidates if one.user == "bob"),
    )
    async with (
        with_policy(policy, eviction="oldest") as server,
        client(server, "/?ann"),
        client(server, "/?bob") as bob,
        client(server, "/?eve"),
    ):
        assert (await ending(bob))[0] == 1013
        assert await users(server) == ["ann", "eve"]
        [candidates] = policy.candidates
        assert [one.user for one in candidates] == ["ann", "bob"], "the oldest first"
        assert (candidates[0].path, candidates[0].remote_address) == ("/", "127.0.0.1")
        assert server.pool.occupied == 2


@pytest.mark.parametrize("eviction", ["oldest", "idle", "priority", "slowest"])
async def test_candidates_are_the_first_to_leave_over_all_shards_in_order(eviction: str) -> None:
    policy = Policy(evicts=None)
    async with with_policy(policy, eviction=eviction, max_connections=20) as server:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(1, 21):
                # Priorities rise with age, so that every order is the same one.
                await stack.enter_async_context(client(server, "/?" + "u" * number))
            with pytest.raises(InvalidStatus):
                await client(server, "/?new")
        [candidates] = policy.candidates
        assert [one.priority for one in candidates] == list(range(1, 17))


@pytest.mark.parametrize("choice", [None, "9-9-9"])
async def test_a_policy_that_chooses_nobody_leaves_all_where_they_are(choice: str | None) -> None:
    policy = Policy(evicts=choice)
    async with (
        with_policy(policy, eviction="oldest") as server,
        client(server, "/?ann"),
        client(server, "/?bob"),
    ):
        with pytest.raises(InvalidStatus) as caught:
            await client(server, "/?eve")
        assert caught.value.response.status_code == 503
        assert await users(server) == ["ann", "bob"]


@pytest.mark.parametrize("answer", ["late", LookupError("broken")])
@pytest.mark.parametrize("question", ["admits", "evicts"])
@pytest.mark.parametrize(
    ("eviction", "fallback", "expected"),
    [
        ("reject", "reject", ["ann", "bobby"]),
        ("oldest", "reject", ["ann", "bobby"]),
        ("oldest", "oldest", ["bobby", "eve"]),
        ("reject", "oldest", ["bobby", "eve"]),
        ("oldest", "priority", ["ann", "bobby"]),
        ("idle", "slowest", ["bobby", "eve"]),
    ],
)
async def test_a_policy_that_fails_or_is_late_is_replaced_by_its_fallback(
    answer: object,
    question: str,
    eviction: str,
    fallback: str,
    expected: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = Policy()
    async with (
        with_policy(policy, eviction=eviction, policy_fallback=fallback, policy_timeout=0.05) as server,
        client(server, "/?ann"),
        client(server, "/?bobby"),
    ):
        setattr(policy, question, answer)
        # Its priority, 3, is not above that of `ann`.
        if "eve" in expected:
            async with client(server, "/?eve"):
                assert await users(server) == expected
        else:
            assert (await refused(server, "/?eve")).status == 503
            assert await users(server) == expected
    assert "pool policy failed" in caplog.text


async def test_eviction_by_priority_takes_only_a_smaller_one() -> None:
    server = server_with(max_connections=2, threads=3, eviction="priority")
    server.route("/")(idle)
    server.on_connect(
        lambda request: sc.Accept(user=request.query_string, priority=int(request.query_string))
    )
    async with server, client(server, "/?5"), client(server, "/?3") as weak:
        with pytest.raises(InvalidStatus) as caught:
            await client(server, "/?3")
        assert caught.value.response.status_code == 503
        async with client(server, "/?4"):
            assert (await ending(weak))[0] == 1013
            assert await users(server) == ["4", "5"]


async def test_with_the_pool_full_probes_are_answered_and_newcomers_get_503() -> None:
    server = server_with(max_connections=2)
    server.route("/")(idle)
    async with server, client(server), client(server):
        answer = await refused(server)
        assert (answer.status, answer.one("Retry-After")) == (503, "5")
        assert (await get(server.port, "/livez"))[0] == 200
        assert (await get(server.port, "/readyz"))[0] == 200
        assert server.pool.utilisation == 1
