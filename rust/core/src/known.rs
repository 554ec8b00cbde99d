//! Receives connections that the application is told of · hands each a token until the application has
//! finished with it · owns the bound on endings that a stuck application can pile up.

use crate::sync::Arc;
use crate::sync::atomic::AtomicUsize;
use crate::sync::atomic::Ordering::Relaxed;

/// Counts the connections that the application was told of and has not finished with, on all shards; clones
/// count together.
#[derive(Clone, Default)]
pub struct KnownCount(Arc<AtomicUsize>);

impl KnownCount {
    /// A token for one more, or `None` when `limit` are out: the application is so far behind that it must
    /// not be told of more.
    pub fn take(&self, limit: usize) -> Option<Known> {
        let more = |count: usize| (count < limit).then_some(count + 1);
        self.0.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Known(self.clone()))
    }

    /// How many are out.
    pub fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// One connection that the application knows. It goes up with the connection's last event and is dropped
/// when the handler and `on_close` have ended.
#[must_use = "dropping the token says that the application has finished"]
pub struct Known(KnownCount);

impl Drop for Known {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Known")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_are_out_and_a_dropped_token_makes_room() {
        let count = KnownCount::default();
        let first = count.take(2);
        let second = count.take(2);
        assert!(count.take(2).is_none());
        drop(first);
        assert!(count.take(2).is_some());
        drop(second);
        assert_eq!(count.count(), 0);
    }
}
