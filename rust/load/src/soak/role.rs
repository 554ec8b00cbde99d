//! Receives the number of a place · hands out what its connections do there · owns the mixture of a soak.

use std::fmt;

use serde::Deserialize;

/// What a connection, or a channel, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Subscribes and leaves by message; every number must come.
    Follow,
    /// Subscribed by the server on its way in; no Python object per message.
    Push,
    /// Sends, and gets it back from a callback.
    Echo,
    /// Sends, and gets it back from a coroutine.
    EchoTask,
    /// Stalls on a channel that drops its oldest.
    DropOldest,
    /// Stalls on a channel that drops its newest.
    DropNewest,
    /// Stalls on a channel that conflates.
    Conflate,
    /// Stalls on a channel that disconnects.
    Disconnect,
}

/// Roles and their parts of a hundred. Each is there plain and under TLS from a hundred connections on.
const MIXTURE: [(Role, usize); 8] = [
    (Role::DropOldest, 2),
    (Role::DropNewest, 2),
    (Role::Conflate, 2),
    (Role::Disconnect, 2),
    (Role::Echo, 4),
    (Role::EchoTask, 2),
    (Role::Push, 20),
    (Role::Follow, 66),
];

impl Role {
    /// The role of a place.
    pub(crate) fn of(place: usize) -> Self {
        let mut part = place % 100;
        for (role, parts) in MIXTURE {
            if part < parts {
                return role;
            }
            part -= parts;
        }
        Self::Follow
    }

    /// The server's path for it, without the identity.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Follow => "/follow",
            Self::Push => "/push",
            Self::Echo => "/echo",
            Self::EchoTask => "/echo-task",
            Self::DropOldest | Self::DropNewest | Self::Conflate | Self::Disconnect => "/stall",
        }
    }

    pub(crate) const fn stalls(self) -> bool {
        matches!(self, Self::DropOldest | Self::DropNewest | Self::Conflate | Self::Disconnect)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Follow => "follow",
            Self::Push => "push",
            Self::Echo => "echo",
            Self::EchoTask => "echo_task",
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::Conflate => "conflate",
            Self::Disconnect => "disconnect",
        };
        out.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_places_hold_every_role_on_either_transport() {
        assert_eq!(MIXTURE.iter().map(|(_, parts)| parts).sum::<usize>(), 100);
        for (role, parts) in MIXTURE {
            let places: Vec<_> = (0..100).filter(|place| Role::of(*place) == role).collect();
            assert_eq!(places.len(), parts, "{role}");
            assert_eq!(places.iter().filter(|place| **place % 2 == 0).count(), parts / 2, "{role}");
            assert_eq!(Role::of(places[0] + 300), role);
        }
    }
}
