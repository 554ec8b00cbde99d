//! Receives payloads on the threads of callers · hands back compressed frames, or nothing where the raw one will do ·
//! owns the contexts that callers share.
//!
//! Private messages and long publications are compressed where they come from: a shard that did it would keep its
//! other connections waiting. A caller never waits for a context; without one its message goes out as it is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use streamconductor_core::channel::Channel;
use streamconductor_core::codec::Kind;
use streamconductor_core::deflate::{Compressor, Encoding, Encodings, Prepared, WindowBits, is_inline};
use streamconductor_core::ledger::{Charge, Ledger, Level, Owner};
use streamconductor_core::stats::Deflated;

/// Contexts that callers have at once, those in use included.
const CONTEXTS: usize = 8;

/// Compresses for the callers of one server. Its contexts are made when they are needed and kept, while the memory
/// budget allows it.
pub struct Compression {
    ledger: Ledger,
    threshold: AtomicUsize,
    contexts: Mutex<Pool>,
    messages: AtomicU64,
    plain: AtomicU64,
    deflated: AtomicU64,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Context>,
    /// Those in use among them.
    count: usize,
}

struct Context {
    compressor: Compressor,
    _charge: Charge,
}

impl Compression {
    /// No context yet; what is shorter than `threshold` bytes stays as it is.
    pub fn new(ledger: &Ledger, threshold: usize) -> Self {
        Self {
            ledger: ledger.clone(),
            threshold: AtomicUsize::new(threshold),
            contexts: Mutex::default(),
            messages: AtomicU64::new(0),
            plain: AtomicU64::new(0),
            deflated: AtomicU64::new(0),
        }
    }

    /// Another threshold from now on.
    pub fn set_threshold(&self, threshold: usize) {
        self.threshold.store(threshold, Relaxed);
    }

    /// Whether [`Compression::frame`] would try.
    pub fn concerns(&self, encoding: Encoding, payload: usize) -> bool {
        matches!(encoding, Encoding::Deflate(_)) && payload >= self.threshold.load(Relaxed)
    }

    /// A message as one compressed frame; `None`: the raw one is to be sent, because the message is short, does not
    /// shrink, or no context is free.
    pub fn frame(&self, encoding: Encoding, kind: Kind, payload: &[u8]) -> Option<Bytes> {
        let Encoding::Deflate(bits) = encoding else { return None };
        if !self.concerns(encoding, payload.len()) {
            return None;
        }
        let mut context = self.take(bits)?;
        let mut frame = Vec::new();
        let is_smaller = context.compressor.encode_message(&mut frame, kind, payload);
        self.give_back(context);
        let after = if is_smaller { frame.len() } else { payload.len() };
        self.messages.fetch_add(1, Relaxed);
        self.plain.fetch_add(payload.len() as u64, Relaxed);
        self.deflated.fetch_add(after as u64, Relaxed);
        // Room for the whole payload was reserved.
        frame.shrink_to_fit();
        is_smaller.then(|| frame.into())
    }

    /// A message's compressed frames for a set of encodings, as far as they are shorter than the raw one.
    pub fn prepare(&self, encodings: Encodings, kind: Kind, payload: &[u8]) -> Prepared {
        let mut prepared = Prepared::default();
        for bits in encodings.windows() {
            if let Some(frame) = self.frame(Encoding::Deflate(bits), kind, payload) {
                prepared.push(bits, frame);
            }
        }
        prepared
    }

    /// A publication's compressed frames, if it is too long for a shard to make them.
    pub fn publication(&self, channel: &Channel, kind: Kind, payload: &[u8]) -> Option<Box<Prepared>> {
        let encodings = channel.encodings();
        if is_inline(payload.len(), encodings.windows().count()) {
            return None;
        }
        let prepared = self.prepare(encodings, kind, payload);
        (!prepared.is_empty()).then(|| Box::new(prepared))
    }

    /// What callers have compressed.
    pub fn compressed(&self) -> Deflated {
        Deflated {
            messages: self.messages.load(Relaxed),
            plain: self.plain.load(Relaxed),
            deflated: self.deflated.load(Relaxed),
        }
    }

    /// A context for that window, if one is idle or may be made.
    fn take(&self, bits: WindowBits) -> Option<Context> {
        let replaced;
        {
            let mut pool = self.pool();
            let fits = pool.idle.iter().position(|context| context.compressor.window() == bits);
            if let Some(at) = fits {
                return Some(pool.idle.swap_remove(at));
            }
            if pool.count < CONTEXTS {
                pool.count += 1;
                replaced = None;
            } else {
                // One for another window makes room; with all of them in use there is none.
                replaced = Some(pool.idle.pop()?);
            }
        }
        drop(replaced);
        let charge = self.ledger.charge(Owner::Compression, Compressor::real_bytes(bits));
        Some(Context { compressor: Compressor::new(bits), _charge: charge })
    }

    fn give_back(&self, context: Context) {
        let is_kept = self.ledger.level() < Level::Refusing;
        let mut pool = self.pool();
        if is_kept {
            pool.idle.push(context);
        } else {
            pool.count -= 1;
        }
    }

    /// Nothing panics while it holds the lock, so poison is ignored.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bits: u8) -> Encoding {
        WindowBits::new(bits).map_or(Encoding::Raw, Encoding::Deflate)
    }

    #[test]
    fn what_is_short_raw_or_noise_stays_as_it_is() {
        let compression = Compression::new(&Ledger::new(1 << 30), 100);
        let text = [b'x'; 100];
        assert!(compression.frame(Encoding::Raw, Kind::Text, &text).is_none());
        assert!(compression.frame(window(15), Kind::Text, &text[1..]).is_none());
        assert_eq!(compression.compressed(), Deflated::NONE);
        let frame = compression.frame(window(15), Kind::Text, &text).unwrap();
        assert!(frame.len() < 20 && frame[0] == 0xC1);
        let noise: Vec<u8> =
            (0..200_u32).map(|number| (number.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
        assert!(compression.frame(window(15), Kind::Binary, &noise).is_none());
        let compressed = compression.compressed();
        assert_eq!((compressed.messages, compressed.plain), (2, 300));
        assert_eq!(compressed.deflated, frame.len() as u64 + 200);
        compression.set_threshold(101);
        assert!(compression.frame(window(15), Kind::Text, &text).is_none());
    }

    #[test]
    fn one_frame_is_made_for_each_window() {
        let compression = Compression::new(&Ledger::new(1 << 30), 1);
        let mut encodings = Encodings::default();
        for bits in [9, 15] {
            encodings.insert(window(bits));
        }
        encodings.insert(Encoding::Raw);
        let prepared = compression.prepare(encodings, Kind::Text, &[b'x'; 1_000]);
        assert_eq!(prepared.iter().map(|(bits, _)| bits.get()).collect::<Vec<_>>(), [9, 15]);
        assert_eq!(compression.compressed().messages, 2);
    }

    #[test]
    fn contexts_are_bounded_charged_and_given_back() {
        let ledger = Ledger::new(1 << 30);
        let compression = Compression::new(&ledger, 1);
        let bits = WindowBits::MAX;
        let each = Compressor::real_bytes(bits);
        let taken: Vec<_> = std::iter::from_fn(|| compression.take(bits)).take(100).collect();
        assert_eq!((taken.len(), ledger.held_by(Owner::Compression)), (CONTEXTS, CONTEXTS * each));
        assert!(
            compression.frame(Encoding::Deflate(bits), Kind::Text, &[b'x'; 100]).is_none(),
            "nobody waits"
        );
        for context in taken {
            compression.give_back(context);
        }
        assert_eq!(ledger.held_by(Owner::Compression), CONTEXTS * each, "kept");
        // Other windows replace them.
        let other = compression.frame(window(9), Kind::Text, &[b'x'; 100]);
        assert!(other.is_some() && ledger.held_by(Owner::Compression) < CONTEXTS * each);
        // Where memory is short none is kept.
        let _others = ledger.charge(Owner::Rings, 1 << 30);
        for bits in 9..=15 {
            assert!(compression.frame(window(bits), Kind::Text, &[b'x'; 100]).is_some());
        }
        assert!(ledger.held_by(Owner::Compression) <= CONTEXTS * each);
        for _ in 0..CONTEXTS {
            assert!(compression.frame(Encoding::Deflate(bits), Kind::Text, &[b'x'; 100]).is_some());
        }
        let pool = compression.pool();
        assert_eq!(pool.count, pool.idle.len());
        assert!(pool.count < CONTEXTS);
    }
}
