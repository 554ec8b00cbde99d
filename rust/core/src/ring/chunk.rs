//! Receives encoded server frames from a channel · hands out immutable chunks that many rings share ·
//! owns their bytes, message ends and keys, and the guard that charges them to the memory ledger once.

use std::fmt;
use std::mem::{size_of, take};
use std::sync::Arc;

use bytes::Bytes;

use super::accounting::Tally;
use crate::config::Overflow;
use crate::time::Timestamp;

/// Size in bytes at which a chunk is sealed. One larger message still makes a chunk, of its own.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Something that is dropped with the chunk, when its last holder lets go.
pub type Charge = Box<dyn Send + Sync>;

/// The publications of one turn on one channel, encoded once and shared by every ring that holds them.
pub struct Chunk {
    channel: u64,
    bytes: Bytes,
    ends: Box<[u32]>,
    /// Empty when no message has a key, else one for each message.
    keys: Box<[u64]>,
    overflow: Overflow,
    high_water: Option<usize>,
    at: Timestamp,
    /// Never read: being dropped with the chunk is its whole purpose.
    _charge: Option<Charge>,
}

impl Chunk {
    /// The channel that published.
    pub fn channel(&self) -> u64 {
        self.channel
    }

    /// Messages in the chunk and their bytes as frames.
    pub fn size(&self) -> Tally {
        Tally { messages: self.ends.len() as u64, bytes: self.bytes.len() as u64 }
    }

    /// The frames of all messages, in order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What happens to these publications in the ring of a slow reader.
    pub fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// The channel's own high water mark in bytes; `None`: the connection's holds.
    pub fn high_water(&self) -> Option<usize> {
        self.high_water
    }

    /// When the chunk was sealed.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The key of a message; 0 when it has none.
    pub fn key(&self, message: u32) -> u64 {
        self.keys.get(message as usize).copied().unwrap_or(0)
    }

    /// Whether any message has a key.
    pub(super) fn is_keyed(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(super) fn messages(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Where a message begins; for the number of messages, where the chunk ends.
    pub(super) fn start_of(&self, message: u32) -> usize {
        let before = (message as usize).checked_sub(1).and_then(|before| self.ends.get(before));
        before.map_or(0, |end| *end as usize)
    }

    /// How many messages lie wholly before `offset`.
    pub(super) fn messages_before(&self, offset: usize) -> u32 {
        self.ends.partition_point(|end| *end as usize <= offset) as u32
    }
}

impl fmt::Debug for Chunk {
    // Payloads never show in logs, so only the measures do.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Chunk")
            .field("channel", &self.channel)
            .field("size", &self.size())
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}

/// The open chunk of a channel: collects frames until it is full, or the turn ends, or somebody joins or leaves.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    keys: Vec<u64>,
}

impl ChunkBuilder {
    /// An open chunk without messages; takes no heap.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), keys: Vec::new() }
    }

    /// Whether a frame of `bytes` may still be added: up to [`CHUNK_BYTES`], and always to an empty chunk.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.is_empty() || self.bytes.len().saturating_add(bytes) <= CHUNK_BYTES
    }

    /// Adds the frame that `encode` appends to the buffer, with its key (0: none). False, and nothing added,
    /// when it appended nothing or the chunk would pass the 4 GiB that a message end can express.
    pub fn push_with(&mut self, key: u64, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        let Some(end) = u32::try_from(self.bytes.len()).ok().filter(|end| *end as usize > before) else {
            self.bytes.truncate(before);
            return false;
        };
        if key != 0 || !self.keys.is_empty() {
            // The first key of the chunk: the messages before it had none.
            self.keys.resize(self.ends.len(), 0);
            self.keys.push(key);
        }
        self.ends.push(end);
        true
    }

    /// Adds one encoded frame with its key; as [`ChunkBuilder::push_with`].
    pub fn push(&mut self, key: u64, frame: &[u8]) -> bool {
        self.push_with(key, |bytes| bytes.extend_from_slice(frame))
    }

    /// Whether no message was added yet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of the frames added so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Heap bytes that the sealed chunk will take: what its charge to the memory ledger has to be.
    pub fn real_bytes(&self) -> usize {
        let reference_counts = 2 * size_of::<usize>();
        size_of::<Chunk>()
            + reference_counts
            + self.bytes.len()
            + self.ends.len() * size_of::<u32>()
            + self.keys.len() * size_of::<u64>()
    }

    /// Makes the messages so far a chunk of `channel` and leaves an empty builder.
    pub fn seal(
        &mut self,
        channel: u64,
        overflow: Overflow,
        high_water: Option<usize>,
        at: Timestamp,
        charge: Option<Charge>,
    ) -> Arc<Chunk> {
        Arc::new(Chunk {
            channel,
            // Boxed slices hold no spare capacity, so that `real_bytes` tells the truth.
            bytes: Bytes::from(take(&mut self.bytes).into_boxed_slice()),
            ends: take(&mut self.ends).into_boxed_slice(),
            keys: take(&mut self.keys).into_boxed_slice(),
            overflow,
            high_water,
            at,
            _charge: charge,
        })
    }
}
