//! Receives connections that open and end · hands callers the encodings that a broadcast meets · owns a count of
//! connections for each window, shared by all shards.

use crate::sync::Arc;
use crate::sync::atomic::AtomicUsize;
// Relaxed: nothing else is read on the strength of a count, and who is not counted yet gets raw frames.
use crate::sync::atomic::Ordering::Relaxed;

use super::{Encoding, Encodings, WindowBits};

/// How many open connections take deflated messages. Clones share the counts.
#[derive(Clone, Debug)]
pub struct InUse(Arc<[AtomicUsize; WindowBits::COUNT]>);

impl Default for InUse {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| AtomicUsize::new(0))))
    }
}

impl InUse {
    /// A connection of that encoding opened.
    pub fn opened(&self, encoding: Encoding) {
        if let Some(count) = self.count(encoding) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// It ended.
    pub fn ended(&self, encoding: Encoding) {
        if let Some(count) = self.count(encoding) {
            count.fetch_sub(1, Relaxed);
        }
    }

    /// The encodings that connections have now, raw left out.
    pub fn encodings(&self) -> Encodings {
        let mut found = Encodings::default();
        for number in 1..Encoding::COUNT as u8 {
            let encoding = Encoding::from_number(number);
            if self.count(encoding).is_some_and(|count| count.load(Relaxed) > 0) {
                found.insert(encoding);
            }
        }
        found
    }

    /// Connections that take deflated messages.
    pub fn connections(&self) -> usize {
        self.0.iter().map(|count| count.load(Relaxed)).sum()
    }

    fn count(&self, encoding: Encoding) -> Option<&AtomicUsize> {
        match encoding {
            Encoding::Raw => None,
            Encoding::Deflate(bits) => self.0.get(bits.index()),
        }
    }
}
