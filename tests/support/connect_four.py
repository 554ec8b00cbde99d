"""Receives a library with `serve`, `broadcast` and the ConnectionClosed classes · hands out handlers as a newcomer
to `websockets` writes them · owns nothing: the same code runs on both libraries.

The game of its tutorial, parts 1 and 2: players share a board, friends join with a key, spectators watch.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

COLUMNS, ROWS, IN_A_ROW = 7, 6, 4


class Board:
    """Connect Four: who has dropped what where, and who has won."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, int, int]] = []

    def play(self, player: str, column: int) -> int:
        if self.moves and self.moves[-1][0] == player:
            raise ValueError("it is not your turn")
        row = sum(column == each for _, each, _ in self.moves)
        if row == ROWS:
            raise ValueError("this column is full")
        self.moves.append((player, column, row))
        return row

    @property
    def winner(self) -> str | None:
        for player, column, row in self.moves:
            for right, up in ((1, 0), (0, 1), (1, 1), (1, -1)):
                line = [(player, column + right * step, row + up * step) for step in range(IN_A_ROW)]
                if all(place in self.moves for place in line):
                    return player
        return None


def first_part(library: Any) -> Any:
    """One browser, two players who take turns, and three ways to read until the page is left."""

    async def handler(websocket: Any) -> None:
        way = await websocket.recv()
        messages = until_closed(websocket) if way == "by recv" else websocket
        board, players = Board(), ["red", "yellow"]
        async for message in messages:
            event = json.loads(message)
            assert event["type"] == "play"
            player = players[len(board.moves) % 2]
            try:
                row = board.play(player, event["column"])
            except ValueError as error:
                await websocket.send(json.dumps({"type": "error", "message": str(error)}))
                continue
            played = {"type": "play", "player": player, "column": event["column"], "row": row}
            await websocket.send(json.dumps(played))
            if board.winner is not None:
                await websocket.send(json.dumps({"type": "win", "player": board.winner}))

    async def until_closed(websocket: Any) -> Any:
        while True:
            try:
                yield await websocket.recv()
            except library.ConnectionClosedOK:
                break

    return handler


def second_part(library: Any) -> Any:
    """Many browsers: the first to come starts a game and gets keys, others join or watch with them."""
    games: dict[str, tuple[Board, set[Any]]] = {}
    watched: dict[str, tuple[Board, set[Any]]] = {}

    async def error(websocket: Any, text: str) -> None:
        await websocket.send(json.dumps({"type": "error", "message": text}))

    async def replay(websocket: Any, board: Board) -> None:
        for player, column, row in list(board.moves):
            await websocket.send(json.dumps({"type": "play", "player": player, "column": column, "row": row}))

    async def play(websocket: Any, board: Board, player: str, connected: set[Any]) -> None:
        async for message in websocket:
            event = json.loads(message)
            assert event["type"] == "play"
            try:
                row = board.play(player, event["column"])
            except ValueError as problem:
                await error(websocket, str(problem))
                continue
            event = {"type": "play", "player": player, "column": event["column"], "row": row}
            library.broadcast(connected, json.dumps(event))
            if board.winner is not None:
                library.broadcast(connected, json.dumps({"type": "win", "player": board.winner}))

    async def start(websocket: Any) -> None:
        board, connected = Board(), {websocket}
        join_key, watch_key = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        games[join_key] = watched[watch_key] = board, connected
        try:
            await websocket.send(json.dumps({"type": "init", "join": join_key, "watch": watch_key}))
            await play(websocket, board, "red", connected)
        finally:
            del games[join_key], watched[watch_key]

    async def join(websocket: Any, join_key: str) -> None:
        if join_key not in games:
            await error(websocket, "there is no such game")
            return
        board, connected = games[join_key]
        connected.add(websocket)
        try:
            await replay(websocket, board)
            await play(websocket, board, "yellow", connected)
        finally:
            connected.remove(websocket)

    async def watch(websocket: Any, watch_key: str) -> None:
        board, connected = watched[watch_key]
        connected.add(websocket)
        try:
            await replay(websocket, board)
            await websocket.wait_closed()
        finally:
            connected.remove(websocket)

    async def handler(websocket: Any) -> None:
        event = json.loads(await websocket.recv())
        assert event["type"] == "init"
        if "join" in event:
            await join(websocket, event["join"])
        elif "watch" in event:
            await watch(websocket, event["watch"])
        else:
            await start(websocket)

    return handler
