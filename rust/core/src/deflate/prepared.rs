//! Receives frames that a caller compressed on its own thread · hands a shard the one for each window · owns them on
//! their way.

use bytes::Bytes;

use super::WindowBits;

/// One message's compressed frames, at most one for each window. A window without one gets the raw frame, which is
/// valid for everybody.
#[derive(Clone, Default)]
pub struct Prepared(Vec<(WindowBits, Bytes)>);

impl Prepared {
    /// Adds the whole frame for a window.
    pub fn push(&mut self, bits: WindowBits, frame: Bytes) {
        self.0.push((bits, frame));
    }

    /// The frame for a window.
    pub fn frame(&self, bits: WindowBits) -> Option<&Bytes> {
        self.iter().find(|(window, _)| *window == bits).map(|(_, frame)| frame)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (WindowBits, &Bytes)> {
        self.0.iter().map(|(bits, frame)| (*bits, frame))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Real bytes of the frames and of the list.
    pub fn real_bytes(&self) -> usize {
        let frames: usize = self.iter().map(|(_, frame)| frame.len()).sum();
        frames + self.0.capacity() * size_of::<(WindowBits, Bytes)>()
    }
}
