//! Receives ping, pong and Close frames · hands them out at the next frame boundary · owns at most one of each,
//! so that a peer that floods pings and never reads cannot make them grow.

use std::mem::{size_of, take};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ping,
    Pong,
    Close,
}

/// A control frame of which the socket has taken a part; nothing may come between.
#[derive(Debug)]
struct Begun {
    kind: Kind,
    frame: Box<[u8]>,
    taken: usize,
}

/// The control frames that wait, already encoded.
#[derive(Debug, Default)]
pub(super) struct Control {
    begun: Option<Begun>,
    pong: Option<Box<[u8]>>,
    ping: Option<Box<[u8]>>,
    close: Option<Box<[u8]>>,
}

impl Control {
    /// Queues a frame in place of one of its kind that is not begun: RFC 6455 §5.5.3 asks for a pong to the most
    /// recent ping only.
    pub(super) fn put(&mut self, kind: Kind, frame: &[u8]) {
        let place = match kind {
            Kind::Ping => &mut self.ping,
            Kind::Pong => &mut self.pong,
            Kind::Close => &mut self.close,
        };
        *place = Some(frame.into());
    }

    /// Forgets pings and pongs that are not begun.
    pub(super) fn clear_urgent(&mut self) {
        self.pong = None;
        self.ping = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_none() && self.close.is_none() && !self.has_urgent()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    pub(super) fn has_begun_close(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.kind == Kind::Close)
    }

    /// Whether a ping or pong waits for the next frame boundary.
    pub(super) fn has_urgent(&self) -> bool {
        self.pong.is_some() || self.ping.is_some()
    }

    /// What is left of the frame that is begun.
    pub(super) fn begun(&self) -> &[u8] {
        self.begun.as_ref().and_then(|begun| begun.frame.get(begun.taken..)).unwrap_or_default()
    }

    /// What goes before pending data.
    pub(super) fn urgent(&self) -> [&[u8]; 2] {
        [self.pong.as_deref().unwrap_or_default(), self.ping.as_deref().unwrap_or_default()]
    }

    /// What goes behind pending data.
    pub(super) fn close(&self) -> &[u8] {
        self.close.as_deref().unwrap_or_default()
    }

    /// Begins the frame that is next: pong, ping, then Close.
    pub(super) fn begin(&mut self) {
        let next = if let Some(frame) = take(&mut self.pong) {
            Some((Kind::Pong, frame))
        } else if let Some(frame) = take(&mut self.ping) {
            Some((Kind::Ping, frame))
        } else {
            take(&mut self.close).map(|frame| (Kind::Close, frame))
        };
        self.begun = next.map(|(kind, frame)| Begun { kind, frame, taken: 0 });
    }

    /// The socket took up to `bytes` of the frame that is begun: how many, and its kind when that was all of it.
    pub(super) fn took(&mut self, bytes: usize) -> (usize, Option<Kind>) {
        let Some(begun) = &mut self.begun else { return (0, None) };
        let count = bytes.min(begun.frame.len() - begun.taken);
        begun.taken += count;
        let whole = (begun.taken == begun.frame.len()).then_some(begun.kind);
        if whole.is_some() {
            self.begun = None;
        }
        (count, whole)
    }

    pub(super) fn storage(&self) -> usize {
        let begun = self.begun.as_ref().map_or(0, |begun| begun.frame.len());
        let urgent: usize = self.urgent().into_iter().map(<[u8]>::len).sum();
        size_of::<Self>() + begun + urgent + self.close().len()
    }
}
