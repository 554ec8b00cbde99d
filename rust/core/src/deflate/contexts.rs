//! Receives a shard's messages to inflate and to compress · hands them back · owns the contexts that all of its
//! connections share, each made when it is first needed.

use super::{Compressor, Inflater, WindowBits};
use crate::codec::Kind;
use crate::stats::Deflated;

/// One inflater and at most one compressor for each window.
#[derive(Debug, Default)]
pub struct Contexts {
    inflater: Inflater,
    compressors: [Option<Box<Compressor>>; WindowBits::COUNT],
    compressed: Deflated,
}

impl Contexts {
    /// The inflater, to be used now.
    pub fn inflater(&mut self) -> &mut Inflater {
        &mut self.inflater
    }

    /// Appends a message as one compressed frame; see [`Compressor::encode_message`].
    pub fn encode_message(
        &mut self,
        bits: WindowBits,
        out: &mut Vec<u8>,
        kind: Kind,
        payload: &[u8],
    ) -> bool {
        let Some(place) = self.compressors.get_mut(bits.index()) else { return false };
        let compressor = place.get_or_insert_with(|| Box::new(Compressor::new(bits)));
        let before = out.len();
        let is_smaller = compressor.encode_message(out, kind, payload);
        let after = if is_smaller { out.len() - before } else { payload.len() };
        self.compressed.add(payload.len(), after);
        is_smaller
    }

    /// Messages compressed so far. One that did not shrink counts with its own size.
    pub fn compressed(&self) -> Deflated {
        self.compressed
    }

    /// Messages inflated so far.
    pub fn inflated(&self) -> Deflated {
        self.inflater.inflated()
    }

    /// How often any context was used.
    pub fn uses(&self) -> u64 {
        self.compressed.messages + self.inflater.uses()
    }

    /// Heap bytes that the contexts hold.
    pub fn real_bytes(&self) -> usize {
        let compressors = self.compressors.iter().flatten();
        let compressors: usize =
            compressors.map(|one| Compressor::real_bytes(one.window()) + size_of::<Compressor>()).sum();
        self.inflater.real_bytes() + compressors
    }

    /// Frees all contexts; the next use makes them anew.
    pub fn let_go(&mut self) {
        self.inflater.let_go();
        self.compressors = Default::default();
    }
}
