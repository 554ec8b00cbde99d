"""Receives ids and filters · hands out the connections they mean · owns how the Python object of a connection comes
into being.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .connection import Connection
from .publishing import Publishing

if TYPE_CHECKING:
    from . import _core
    from .arrivals import Arrivals

__all__ = ["Directory"]


class Directory(Publishing):
    """The connections of a server."""

    _arrivals: Arrivals

    def connections(
        self, *, user: str | None = None, channel: str | None = None, path: str | None = None
    ) -> list[Connection[Any]]:
        """The open connections, as their shards see them at the call: a snapshot.

        Args:
            user: only this user's.
            channel: only those subscribed to this channel.
            path: only those opened with this path.
        """
        native = self._running("connections")
        # What was asked for before this call is part of the picture.
        native.uncork()
        views = native.views(user, channel, path, None)
        self._dispatcher.collect()
        found = (self._found(native, view) for view in views)
        return [connection for connection in found if connection is not None]

    def connection(self, id: str) -> Connection[Any] | None:
        """The open connection with this `id`; None when there is none (any more)."""
        native = self._running("connection")
        found: Connection[Any] | None = native.bound(id)
        if found is not None:
            return found
        return next((connection for connection in self.connections() if connection.id == id), None)

    def disconnect(self, *, user: str, reason: str = "disconnected") -> None:
        """Ends all connections of a user with 4403, which tells clients to stay away.

        Args:
            user: as `Accept.user` named it; that nobody is connected for it is no error.
            reason: the close reason; what exceeds 123 bytes is cut off.
        """
        self._running("disconnect").disconnect(user, reason)

    # Inside.

    def _found(self, native: _core.Server, view: Mapping[str, Any]) -> Connection[Any] | None:
        found: Connection[Any] | None = native.bound(view["id"])
        if found is not None or self._is_held(view["route"]):
            # Held and not bound: its opening is on its way up, or its end has been told already.
            return found
        handle, receiver = native.hold(view["id"])
        connection: Connection[Any] = Connection(self, handle, receiver, None, None, view["user"], None)
        native.bind(view["id"], connection)
        self._handlers.opened(connection, None)
        return connection

    def _is_held(self, route: int) -> bool:
        """Whether connections of this route have a Python object from their opening on."""
        return self._routes[route].receives or bool(self._on_close)

    def _connect(
        self,
        connection: Connection[Any],
        handle: _core.ConnectionHandle,
        receiver: _core.Receiver,
        request: _core.Request,
        subprotocol: str | None,
        user: str | None,
    ) -> None:
        """Makes a blank connection, one that has opened and is held, what it is."""
        context, channels = self._arrivals.opened(handle.id)
        Connection.__init__(connection, self, handle, receiver, request, subprotocol, user, context)
        connection._channels = set(channels) or None
