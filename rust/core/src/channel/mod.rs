//! Receives channel names from callers · hands out one shared identity per name · owns which policy a channel has.

mod chunks;
mod home;
mod members;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

pub use chunks::Chunks;
pub use home::Home;
pub use members::Members;

use crate::config::Overflow;
use crate::deflate::Encodings;

/// Longest channel name in bytes; a longer one is refused by the caller's side.
pub const MAX_NAME: usize = 255;

/// One channel, as every shard and every calling thread knows it.
#[derive(Debug)]
pub struct Channel {
    name: Box<str>,
    id: u64,
    home: usize,
    policy: Policy,
    subscribers: AtomicUsize,
    encodings: AtomicU8,
}

/// What a channel does with slow readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What happens at the marks.
    pub overflow: Overflow,
    /// The channel's own high water mark in bytes, compared with its own pending bytes on a connection;
    /// `None`: the connection's mark and all of its pending bytes.
    pub high_water: Option<usize>,
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number, unique in the process for as long as anybody holds the channel.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The shard that orders its publications.
    pub fn home(&self) -> usize {
        self.home
    }

    /// What it does with slow readers.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Subscriptions known now, those on their way included.
    pub fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// The encodings that subscribers had when the home last looked: what a publisher should compress for. Whoever is
    /// on the way gets raw frames of what was published before.
    pub fn encodings(&self) -> Encodings {
        Encodings::from_bits(self.encodings.load(Ordering::Relaxed))
    }

    /// For the home alone.
    pub(crate) fn set_encodings(&self, encodings: Encodings) {
        self.encodings.store(encodings.bits(), Ordering::Relaxed);
    }

    /// A subscription ended (or never came about): the counterpart of [`Registry::join`].
    pub fn leave(&self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Every channel that has subscribers, by name, and the policies by pattern. The caller guards it: shards
/// never touch it, they only lower the counts, so a name with no subscribers is swept here, later.
#[derive(Debug)]
pub struct Registry {
    channels: HashMap<Box<str>, Arc<Channel>>,
    patterns: Vec<(Box<str>, Policy)>,
    fallback: Policy,
    shards: usize,
    next_id: u64,
    sweep_at: usize,
}

impl Registry {
    /// A registry for this many shards; `fallback` holds where no pattern matches.
    pub fn new(shards: usize, fallback: Policy) -> Self {
        Self { channels: HashMap::new(), patterns: Vec::new(), fallback, shards, next_id: 1, sweep_at: 1_024 }
    }

    /// Sets the policy of all channels that match `pattern` and come into being from now on.
    pub fn define(&mut self, pattern: &str, policy: Policy) {
        self.patterns.retain(|(known, _)| **known != *pattern);
        self.patterns.push((pattern.into(), policy));
        // Longest first: the most specific pattern wins.
        self.patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    }

    /// Sets the policy of channels without a pattern that come into being from now on.
    pub fn set_fallback(&mut self, policy: Policy) {
        self.fallback = policy;
    }

    /// The policy of channels without a pattern.
    pub fn fallback(&self) -> Policy {
        self.fallback
    }

    /// The channel, if anybody is subscribed or about to be.
    pub fn find(&self, name: &str) -> Option<&Arc<Channel>> {
        self.channels.get(name).filter(|channel| channel.subscribers() > 0)
    }

    /// The channel with one more subscription counted; [`Channel::leave`] takes it back.
    pub fn join(&mut self, name: &str) -> Arc<Channel> {
        if let Some(channel) = self.channels.get(name) {
            channel.subscribers.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(channel);
        }
        if self.channels.len() >= self.sweep_at {
            // Counts only rise in this very method, so a zero seen here stays a zero.
            self.channels.retain(|_, channel| channel.subscribers() > 0);
            self.sweep_at = (self.channels.len() * 2).max(1_024);
        }
        let channel = Arc::new(Channel {
            name: name.into(),
            id: self.next_id,
            home: (stable_hash(name) % self.shards.max(1) as u64) as usize,
            policy: self.policy_for(name),
            subscribers: AtomicUsize::new(1),
            encodings: AtomicU8::new(0),
        });
        self.next_id += 1;
        self.channels.insert(name.into(), Arc::clone(&channel));
        channel
    }

    /// Names with subscribers, and how many.
    pub fn snapshot(&self) -> impl Iterator<Item = (&str, usize)> {
        self.channels
            .iter()
            .map(|(name, channel)| (&**name, channel.subscribers()))
            .filter(|(_, subscribers)| *subscribers > 0)
    }

    fn policy_for(&self, name: &str) -> Policy {
        self.patterns
            .iter()
            .find(|(pattern, _)| matches(pattern, name))
            .map_or(self.fallback, |(_, policy)| *policy)
    }
}

/// Whether `name` matches `pattern`, in which each `*` stands for any run of characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// FNV-1a: stable across processes and versions, so that a channel's home can be told from its name.
fn stable_hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Numbers a conflation key; zero is kept for "no key".
pub fn key_number(key: &str) -> u64 {
    stable_hash(key).max(1)
}

/// Maps from channel ids, which are already well spread once multiplied.
pub type ById<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

/// Hashes a channel id by one multiplication (Fibonacci hashing): ids are small and ours, so nobody can
/// choose them to collide.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        Registry::new(4, Policy::default())
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("prices:*", "prices:EURUSD", true),
            ("prices:*", "prices:", true),
            ("prices:*", "price:EURUSD", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
            ("room", "room", true),
            ("room", "rooms", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_longest_pattern_wins() {
        let mut registry = registry();
        let conflate = Policy { overflow: Overflow::Conflate, high_water: Some(1) };
        registry.define("prices:EUR*", conflate);
        registry.define("*", Policy { overflow: Overflow::DropOldest, high_water: None });
        assert_eq!(registry.join("prices:EURUSD").policy(), conflate);
        assert_eq!(registry.join("news").policy().overflow, Overflow::DropOldest);
    }

    #[test]
    fn a_channel_is_known_while_it_has_subscribers_and_swept_afterwards() {
        let mut registry = registry();
        assert!(registry.find("room").is_none());
        let first = registry.join("room");
        let second = registry.join("room");
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(registry.find("room").map(|channel| channel.subscribers()), Some(2));
        first.leave();
        second.leave();
        assert!(registry.find("room").is_none());
        for number in 0..3_000 {
            registry.join(&format!("room {number}")).leave();
        }
        assert!(registry.channels.len() <= 1_024, "{} names kept", registry.channels.len());
    }

    #[test]
    fn the_home_is_told_by_the_name_alone() {
        assert_eq!(registry().join("room").home(), registry().join("room").home());
        let homes: std::collections::HashSet<_> =
            (0..64).map(|number| registry().join(&format!("room {number}")).home()).collect();
        assert_eq!(homes.len(), 4);
    }
}
