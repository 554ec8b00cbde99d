//! Receives the compressed payload of a whole message · hands out what it says, bounded while it grows · owns one
//! inflate context, and none before the first message.

use flate2::{Decompress, FlushDecompress, Status};

use super::TAIL;
use crate::stats::Deflated;

/// Messages up to this many bytes need no buffer but the shared one and their own.
const SCRATCH: usize = 64 * 1024;

/// The most that one byte of a deflate stream can stand for.
const MOST_PER_BYTE: usize = 1_032;

/// The window that a distance may reach back, whatever was agreed.
const WINDOW: usize = 32 * 1024;

/// Blocks in one message that call themselves the last and are not. Each costs a copy of the window, so that a
/// message of nothing else would keep the shard busy.
const MAX_ENDS: usize = 64;

/// Heap of a context, the window included.
const HEAP: usize = 47_552;

/// Comes behind the tail: an empty last block. Only a stream that was whole ends with it.
const END: [u8; 9] = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], 0x01, 0x00, 0x00, 0xFF, 0xFF];

/// Why a message could not be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It has more bytes than the limit.
    TooBig,
    /// It is no deflate stream, ends within a block, or refers to what was before it.
    Corrupt,
}

/// Inflates messages that each stand alone. Who talks to a peer that carries its window from message to message
/// gives that peer an inflater of its own; this one begins every message with an empty window.
#[derive(Debug, Default)]
pub struct Inflater {
    context: Option<Box<Context>>,
    inflated: Deflated,
    uses: u64,
}

#[derive(Debug)]
struct Context {
    stream: Decompress,
    /// Where output goes until it is too much for here; never holds bytes between messages.
    scratch: Vec<u8>,
}

impl Inflater {
    /// An inflater that takes heap only with its first message.
    pub const fn new() -> Self {
        Self { context: None, inflated: Deflated::NONE, uses: 0 }
    }

    /// The message whose payload, as it came, is `compressed` (RFC 7692 §7.2.2), if it has at most `limit` bytes.
    /// Whatever comes, never more than `limit` and 64 KiB are held.
    pub fn inflate(&mut self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        self.uses += 1;
        let context = self.context.get_or_insert_with(|| {
            // With the largest window: a client may use a smaller one than was agreed.
            Box::new(Context { stream: Decompress::new(false), scratch: Vec::with_capacity(SCRATCH) })
        });
        let message = context.inflate(compressed, limit)?;
        self.inflated.add(message.len(), compressed.len());
        Ok(message)
    }

    /// Messages inflated so far.
    pub fn inflated(&self) -> Deflated {
        self.inflated
    }

    /// Messages that it was given, those that could not be inflated among them.
    pub fn uses(&self) -> u64 {
        self.uses
    }

    /// Heap bytes that it holds.
    pub fn real_bytes(&self) -> usize {
        self.context.as_ref().map_or(0, |_| HEAP + SCRATCH + size_of::<Context>())
    }

    /// Frees the context; the next message makes another.
    pub fn let_go(&mut self) {
        self.context = None;
    }
}

impl Context {
    fn inflate(&mut self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        self.scratch.clear();
        let mut output = Output { large: Vec::new(), scratch: &mut self.scratch, limit };
        self.stream.reset(false);
        let (mut rest, mut ends) = (compressed, 0);
        while !rest.is_empty() {
            let (used, has_ended) = run(&mut self.stream, rest, &mut output, compressed.len())?;
            rest = rest.get(used..).unwrap_or_default();
            if has_ended {
                if rest.is_empty() {
                    // Strictly the header of an empty block must follow (§7.2.1); nothing is unclear without it.
                    return Ok(output.finish());
                }
                // A block that calls itself the last need not be (§7.2.3.4): what follows begins at the next byte,
                // with the same window.
                ends += 1;
                if ends > MAX_ENDS {
                    return Err(InflateError::Corrupt);
                }
                self.stream.reset(false);
                let written = output.written();
                let window = written.get(written.len().saturating_sub(WINDOW)..).unwrap_or_default();
                if !window.is_empty() {
                    self.stream.set_dictionary(window).map_err(|_| InflateError::Corrupt)?;
                }
            }
        }
        match run(&mut self.stream, &END, &mut output, compressed.len())? {
            (used, true) if used == END.len() => Ok(output.finish()),
            _ => Err(InflateError::Corrupt),
        }
    }
}

/// Runs until `input` is used up or a last block has ended; how much was used, and which of the two.
fn run(
    stream: &mut Decompress,
    input: &[u8],
    output: &mut Output<'_>,
    compressed: usize,
) -> Result<(usize, bool), InflateError> {
    let mut used = 0;
    loop {
        let rest = input.get(used..).unwrap_or_default();
        let (before, room) = (stream.total_in(), output.room(compressed)?);
        let status = stream.decompress_vec(rest, room, FlushDecompress::None);
        let is_full = room.len() == room.capacity();
        let status = status.map_err(|_| InflateError::Corrupt)?;
        used += (stream.total_in() - before) as usize;
        if output.written().len() > output.limit {
            return Err(InflateError::TooBig);
        }
        if status == Status::StreamEnd {
            return Ok((used, true));
        }
        // With room left it has used all of its input and has nothing more to say before there is more.
        if !is_full {
            return if used == input.len() { Ok((used, false)) } else { Err(InflateError::Corrupt) };
        }
    }
}

/// Where the message grows: the scratch first, so that most messages are allocated once and exactly.
struct Output<'c> {
    scratch: &'c mut Vec<u8>,
    large: Vec<u8>,
    limit: usize,
}

impl Output<'_> {
    /// The buffer that the stream may fill to its capacity, which goes one byte beyond the limit: so a message is
    /// seen to be too big.
    fn room(&mut self, compressed: usize) -> Result<&mut Vec<u8>, InflateError> {
        if self.large.capacity() == 0 {
            if self.scratch.len() < self.scratch.capacity() {
                return Ok(self.scratch);
            }
            // At once as much as it can become: growing would hold the message twice. What stays untouched is no
            // memory, and is given back.
            let most = compressed.saturating_mul(MOST_PER_BYTE).saturating_add(SCRATCH);
            self.reserve(most)?;
            self.large.append(self.scratch);
        } else if self.large.len() == self.large.capacity() {
            self.reserve(usize::MAX)?;
        }
        Ok(&mut self.large)
    }

    /// Makes the capacity `most`, or the limit and a byte if that is less.
    fn reserve(&mut self, most: usize) -> Result<(), InflateError> {
        let most = most.min(self.limit.saturating_add(1));
        let more = most.saturating_sub(self.large.len());
        self.large.try_reserve_exact(more).map_err(|_| InflateError::TooBig)
    }

    fn written(&self) -> &[u8] {
        if self.large.is_empty() { self.scratch } else { &self.large }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.large.is_empty() {
            return self.scratch.as_slice().to_vec();
        }
        self.large.shrink_to_fit();
        std::mem::take(&mut self.large)
    }
}
