//! Receives the server's list of channels · hands out what each promises and whether a publication's bytes are right
//! · owns that list.

use serde::Deserialize;

use super::message::{LABEL, Label, Pattern};
use super::random::Random;
use super::role::Role;
use super::subscription::Promise;

/// One channel, as the server describes it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Channel {
    /// Whose connections subscribe to it.
    pub(crate) role: Role,
    /// Bytes of a publication.
    pub(crate) size: usize,
    /// Keys that a conflating channel's publications take in turn.
    pub(crate) keys: u64,
}

/// All of them; a channel's number is its place in the list.
#[derive(Debug)]
pub(crate) struct Channels {
    list: Vec<Channel>,
    pub(crate) pattern: Pattern,
}

impl Channels {
    pub(crate) fn new(list: Vec<Channel>) -> Self {
        Self { list, pattern: Pattern::new() }
    }

    /// Whether a publication is exactly what its label demands.
    #[inline]
    pub(crate) fn is_right(&self, label: Label, payload: &[u8]) -> bool {
        let channel = self.list.get(usize::from(label.channel)).filter(|channel| channel.size >= LABEL);
        channel.is_some_and(|channel| self.pattern.is_right(label, payload, channel.size))
    }

    /// What a channel promises.
    pub(crate) fn promise(&self, channel: u8) -> Promise {
        let keys = |channel: &Channel| match channel.role {
            Role::DropOldest => Promise::Newest(1),
            Role::DropNewest => Promise::Newest(0),
            Role::Conflate => Promise::Newest(channel.keys),
            _ => Promise::Every,
        };
        self.list.get(usize::from(channel)).map_or(Promise::Every, keys)
    }

    /// Some channels for a connection of that role: one, or two where there are so many.
    pub(crate) fn choose(&self, role: Role, random: &mut Random) -> Vec<u8> {
        let numbered = (0_u8..).zip(&self.list);
        let mut fitting: Vec<_> =
            numbered.filter(|(_, channel)| channel.role == role).map(|(number, _)| number).collect();
        let wanted = if role == Role::Follow { 1 + random.below(2) } else { 1 };
        while fitting.len() > wanted {
            fitting.swap_remove(random.below(fitting.len()));
        }
        fitting
    }
}
