//! Receives payloads · hands out compressed frames, each of which stands alone · owns one deflate context.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{TAIL, WindowBits};
use crate::codec::{Kind, MAX_HEADER, Opcode, encode_header};

/// The level of zlib. Measured on JSON of 1 to 16 KiB, see ARCHITECTURE.md: above it the time goes up and the size
/// hardly down, and level 1, which has no dynamic codes, gives away a third of the gain.
pub const LEVEL: u32 = 4;

/// Heap of a context beside its window: hash chains and pending output, which zlib-rs sizes for all windows alike.
const HEAP: usize = 248_960;

/// Compresses messages for one window. The context is a quarter of a megabyte and more, so many connections share it.
#[derive(Debug)]
pub struct Compressor {
    bits: WindowBits,
    stream: Compress,
}

impl Compressor {
    /// A compressor whose messages a client with that window can inflate.
    pub fn new(bits: WindowBits) -> Self {
        Self { bits, stream: Compress::new_with_window_bits(Compression::new(LEVEL), false, bits.get()) }
    }

    /// Its window.
    pub fn window(&self) -> WindowBits {
        self.bits
    }

    /// Heap bytes of a compressor for that window.
    pub const fn real_bytes(bits: WindowBits) -> usize {
        HEAP + (4 << bits.get())
    }

    /// Appends a server's message to `out` as one compressed frame (RFC 7692 §7.2.1). False, and nothing appended:
    /// the raw frame would not be longer.
    pub fn encode_message(&mut self, out: &mut Vec<u8>, kind: Kind, payload: &[u8]) -> bool {
        let start = out.len();
        let is_smaller = self.append(out, start, kind, payload).is_some();
        if !is_smaller {
            out.truncate(start);
        }
        is_smaller
    }

    fn append(&mut self, out: &mut Vec<u8>, start: usize, kind: Kind, payload: &[u8]) -> Option<()> {
        let mut header = [0; MAX_HEADER];
        // The header comes first and its length is known last: room for that of the raw frame, which is not shorter.
        let gap = encode_header(&mut header, Opcode::Data(kind), true, true, payload.len(), None);
        out.extend_from_slice(header.get(..gap)?);
        // What does not fit into as many bytes as the payload has is no gain; the tail comes off again.
        out.reserve(payload.len() + TAIL.len());
        self.stream.reset();
        let status = self.stream.compress_vec(payload, out, FlushCompress::Sync).ok()?;
        // A full buffer may hide what is still to come.
        if status != Status::Ok || out.len() == out.capacity() || !out.ends_with(&TAIL) {
            return None;
        }
        out.truncate(out.len() - TAIL.len());
        let length = out.len() - start - gap;
        if length >= payload.len() || self.stream.total_in() != payload.len() as u64 {
            return None;
        }
        let size = encode_header(&mut header, Opcode::Data(kind), true, true, length, None);
        if size < gap {
            out.copy_within(start + gap.., start + size);
            out.truncate(start + size + length);
        }
        out.get_mut(start..start + size)?.copy_from_slice(header.get(..size)?);
        Some(())
    }
}
