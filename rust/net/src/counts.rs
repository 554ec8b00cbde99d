//! Receives addresses and users from the acceptors and the shards · hands each its count · owns the tables of both, and
//! forgets whom nobody counts any more.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use streamconductor_core::bucket::{Rate, TokenBucket};
use streamconductor_core::pool::{AddressCount, UserCount};
use streamconductor_core::shard::site::Counts as Countable;
use streamconductor_core::time::Timestamp;

/// Entries of a table that are kept before those nobody needs are swept.
const KEPT: usize = 4_096;

/// What is counted by address and by user, over all shards of a server.
///
/// Each table is locked for one look-up. It holds whoever is connected, or shook hands within the last second, and at
/// most as many again: what is swept is paid for by as many newcomers.
#[derive(Default)]
pub struct Counts {
    addresses: Mutex<Table<IpAddr, AddressCount>>,
    handshakes: Mutex<Table<IpAddr, TokenBucket>>,
    users: Mutex<Table<Arc<str>, UserCount>>,
}

struct Table<K, V> {
    entries: HashMap<K, V>,
    /// How many entries there may be before they are swept.
    sweep_at: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: KEPT }
    }
}

impl<K: Eq + Hash, V: Default> Table<K, V> {
    /// The entry of `key`. Where there is none and the table has become large, those that are not `needed` go first.
    fn entry(&mut self, key: K, needed: impl Fn(&V) -> bool) -> &mut V {
        if self.entries.len() >= self.sweep_at && !self.entries.contains_key(&key) {
            self.entries.retain(|_, value| needed(value));
            self.sweep_at = (self.entries.len() * 2).max(KEPT);
        }
        self.entries.entry(key).or_default()
    }
}

impl Countable for Counts {
    fn of_address(&self, address: IpAddr) -> AddressCount {
        lock(&self.addresses).entry(counted_as(address), AddressCount::is_in_use).clone()
    }

    fn of_user(&self, user: &Arc<str>) -> UserCount {
        lock(&self.users).entry(Arc::clone(user), UserCount::is_in_use).clone()
    }

    fn take_handshake(&self, address: IpAddr, rate: u32, now: Timestamp) -> bool {
        let rate = Rate::per_second(rate);
        // A full bucket is what a new one is.
        let needed = |bucket: &TokenBucket| !bucket.is_full(rate, now);
        lock(&self.handshakes).entry(counted_as(address), needed).take(rate, 1, now)
    }
}

/// One client of IPv6 has a whole /64 (RFC 6177), and could come with a new address each time.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// Nothing panics while it holds one of these locks in a state worth distrusting, so poison is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::V4(u32::try_from(number).unwrap().into())
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn one_address_has_one_count_whoever_asks() {
        let counts = Counts::default();
        let first = counts.of_address(address(1)).take(Some(2));
        let second = counts.of_address("::ffff:0.0.0.1".parse().unwrap()).take(Some(2));
        assert!(first.is_some() && second.is_some());
        assert!(counts.of_address(address(1)).take(Some(2)).is_none());
        assert!(counts.of_address(address(2)).take(Some(2)).is_some());
        drop(first);
        assert!(counts.of_address(address(1)).take(Some(2)).is_some());
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let counts = Counts::default();
        let of = |text: &str| counts.of_address(text.parse().unwrap());
        let place = of("2001:db8:0:1::1").take(Some(1));
        assert!(place.is_some());
        assert!(of("2001:db8:0:1:ffff:ffff:ffff:ffff").take(Some(1)).is_none());
        assert!(of("2001:db8:0:2::1").take(Some(1)).is_some());
    }

    #[test]
    fn who_is_not_connected_is_forgotten_and_who_is_stays_counted() {
        let counts = Counts::default();
        let places: Vec<_> =
            (0..100).map(|number| counts.of_address(address(number)).take(Some(1))).collect();
        let users: Vec<_> =
            (0..100).map(|number| counts.of_user(&number.to_string().into()).take(Some(1))).collect();
        for number in 100..100_000 {
            drop(counts.of_address(address(number)).take(None));
            drop(counts.of_user(&number.to_string().into()).take(None));
        }
        assert!(lock(&counts.addresses).entries.len() <= KEPT + 1);
        assert!(lock(&counts.users).entries.len() <= KEPT + 1);
        for number in 0..100 {
            assert!(counts.of_address(address(number)).take(Some(1)).is_none());
            assert!(counts.of_user(&number.to_string().into()).take(Some(1)).is_none());
        }
        drop((places, users));
        assert!(counts.of_address(address(7)).take(Some(1)).is_some());
    }

    #[test]
    fn a_table_grows_with_those_who_are_there_and_is_swept_for_as_many_newcomers() {
        let counts = Counts::default();
        let places: Vec<_> =
            (0..20_000).map(|number| counts.of_address(address(number)).take(None)).collect();
        assert_eq!(lock(&counts.addresses).entries.len(), 20_000);
        let sweep_at = lock(&counts.addresses).sweep_at;
        assert!((20_000..=40_000).contains(&sweep_at), "{sweep_at}");
        drop(places);
        for number in 20_000..60_000 {
            counts.of_address(address(number));
        }
        assert!(lock(&counts.addresses).entries.len() <= KEPT.max(sweep_at));
    }

    #[test]
    fn handshakes_are_counted_by_address_and_forgotten_after_a_second() {
        let counts = Counts::default();
        for (millis, expected) in [(0, true), (0, true), (0, false), (499, false), (500, true), (500, false)]
        {
            assert_eq!(counts.take_handshake(address(1), 2, at(millis)), expected, "{millis}");
        }
        assert!(counts.take_handshake(address(2), 2, at(500)));
        for number in 0..50_000 {
            counts.take_handshake(address(number), 2, at(5_000 + number as u64));
        }
        // 50 seconds of a thousand newcomers each: no more than a sweep's worth is kept.
        assert!(lock(&counts.handshakes).entries.len() <= KEPT + 1);
    }

    #[test]
    fn a_sweep_gives_nobody_a_second_burst() {
        let counts = Counts::default();
        assert!(counts.take_handshake(address(0), 1, at(0)));
        for number in 1..20_000 {
            counts.take_handshake(address(number), 1, at(number as u64 / 100));
        }
        assert!(!counts.take_handshake(address(0), 1, at(999)));
        assert!(counts.take_handshake(address(0), 1, at(1_000)));
    }
}
