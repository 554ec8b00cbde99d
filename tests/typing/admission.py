"""Who comes in, and what a handler then knows of them: `Accept[User]` becomes `Connection[User].context`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, reveal_type

import streamconductor as sc

server = sc.Server()


@dataclass
class User:
    id: str


@dataclass
class Administrator(User):
    rank: int


def find(token: str | None) -> User | None:
    return User(token) if token else None


# What `on_connect` may be.


@server.on_connect
async def admit(request: sc.Request) -> sc.Accept[User] | sc.Reject:
    reveal_type(request.bearer_token)  # str | None
    if (user := find(request.bearer_token)) is None:
        return sc.Reject(401, "token expired", headers={"WWW-Authenticate": "Bearer"})
    return sc.Accept(user=user.id, context=user, priority=1, subscribe=[f"user:{user.id}"])


@server.on_connect
def admit_everybody(request: sc.Request) -> sc.Accept:
    return sc.Accept(context=User("anybody")) if request.origin else sc.Accept()


@server.on_connect  # type: ignore[type-var]
async def admit_with_a_truth(request: sc.Request) -> bool:
    return True


@server.on_connect  # type: ignore[type-var]
async def admit_without_a_request() -> sc.Accept:
    return sc.Accept()


reveal_type(sc.Accept(context=User("a")))  # Accept[User]
reveal_type(sc.Accept(user="a"))  # Accept[None]
reveal_type(sc.Accept(context=User("a")).context)  # User

administrator: sc.Accept[User] = sc.Accept(context=Administrator("a", 1))
optional: sc.Accept[User | None] = sc.Accept()
nobody: sc.Accept[User] = sc.Accept()  # type: ignore[assignment]
stranger: sc.Accept[User] = sc.Accept(context="a")  # type: ignore[arg-type]
misspelt = sc.Accept(prioritty=1)  # type: ignore[call-overload]
refused = sc.Reject("401")  # type: ignore[arg-type]


# What a handler knows.


@server.route("/rooms/{room}")
async def room(connection: sc.Connection[User]) -> None:
    reveal_type(connection.context)  # User
    reveal_type(connection.request.path_params["room"])  # str
    reveal_type(connection.user)  # str | None
    reveal_type(connection.remote_address)  # tuple[str, int] | None
    reveal_type(connection.close_code)  # int | None
    log(connection)
    greet(connection)
    await count(connection, 1)  # type: ignore[arg-type]


@server.route("/anybody")
async def anybody(connection: sc.Connection) -> None:
    reveal_type(connection.context)  # object
    print(connection.context.id)  # type: ignore[attr-defined]


@server.route("/nobody")
async def without_context(connection: sc.Connection[None]) -> None:
    reveal_type(connection.context)  # None


def log(connection: sc.Connection) -> None:
    """Takes any connection: without a parameter, nobody looks at its context."""


def greet(connection: sc.Connection[User]) -> None:
    """Takes the connection of any sort of user."""


async def count(connection: sc.Connection[int], step: int) -> None:
    """Takes the connection of a number."""


async def for_administrators(connection: sc.Connection[Administrator]) -> None:
    greet(connection)


reveal_type(server.connections(user="a"))  # list[Connection[Any]]
reveal_type(server.connection("a"))  # Connection[Any] | None


class Fair(sc.PoolPolicy):
    async def admit(self, request: sc.Request, pool: sc.PoolSnapshot) -> bool:
        reveal_type(pool.utilisation)  # float
        return request.has_slot


sc.Server(pool_policy=Fair())
sc.Server(sc.Config(), Fair)  # type: ignore[arg-type]
anything: sc.Connection[Any]
