//! Receives the chunks that a home sealed at one moment · hands each subscriber the one of its encoding · owns the
//! promise that all of them hold the same messages, keys and order.

use std::sync::Arc;

use crate::deflate::{Encoding, WindowBits};
use crate::ring::Chunk;

/// The same publications, once for each encoding in use. Without deflate one reference and no heap.
#[derive(Clone, Debug)]
pub struct Chunks {
    channel: u64,
    raw: Option<Arc<Chunk>>,
    deflated: Box<[(WindowBits, Arc<Chunk>)]>,
}

impl Chunks {
    /// The chunks of a channel; `None` when there is none.
    pub fn new(
        channel: u64,
        raw: Option<Arc<Chunk>>,
        deflated: Box<[(WindowBits, Arc<Chunk>)]>,
    ) -> Option<Self> {
        (raw.is_some() || !deflated.is_empty()).then_some(Self { channel, raw, deflated })
    }

    /// The channel that published.
    pub fn channel(&self) -> u64 {
        self.channel
    }

    /// The chunk for a connection of that encoding: raw frames where it has none of its own, which everybody
    /// understands. The home makes one that fits for every subscriber it knows of, so `None` is nobody's.
    pub fn of(&self, encoding: Encoding) -> Option<&Arc<Chunk>> {
        if let Encoding::Deflate(bits) = encoding
            && let Some((_, chunk)) = self.deflated.iter().find(|(window, _)| *window == bits)
        {
            return Some(chunk);
        }
        self.raw.as_ref()
    }
}
