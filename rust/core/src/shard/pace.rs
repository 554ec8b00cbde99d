//! Receives what a peer has sent · hands out until when reading pauses, or that the peer must go · owns the four rates of
//! one connection.

use crate::bucket::{Rate, TokenBucket};
use crate::close::{CloseCode, Ending};
use crate::config::Limits;
use crate::time::Timestamp;

/// What came in one item of the codec.
#[derive(Clone, Copy)]
pub enum Came {
    /// A ping or a pong.
    Control,
    /// A Close.
    Close,
    /// A complete message.
    Message {
        /// Its frames: most have one.
        frames: u32,
        /// Its payload.
        bytes: usize,
    },
}

/// The buckets of one connection.
#[derive(Default)]
pub struct Pace {
    control: TokenBucket,
    // Few servers set these limits, and there may be a great many idle connections.
    paused_by: Option<Box<PausedBy>>,
}

/// The buckets whose emptiness pauses reading.
#[derive(Default)]
struct PausedBy {
    frames: TokenBucket,
    messages: TokenBucket,
    bytes: TokenBucket,
}

impl Pace {
    /// Counts what came. `Ok(Some)`: no more may come until then. An error: the peer sends more control frames than it
    /// may.
    pub fn count(
        &mut self,
        came: Came,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Ending> {
        let is_any = limits.max_frame_rate.is_some()
            || limits.max_message_rate.is_some()
            || limits.max_byte_rate.is_some();
        let mut until = None;
        if is_any {
            let paused_by = self.paused_by.get_or_insert_default();
            paused_by.charge(came, limits, now);
            until = paused_by.ready_at(limits);
        }
        match limits.max_control_rate {
            Some(limit)
                if matches!(came, Came::Control) && !self.control.take(Rate::per_second(limit), 1, now) =>
            {
                let reason = format!("more than {limit} control frames in a second (max_control_rate)");
                Err(Ending::Violation { code: CloseCode::POLICY_VIOLATION, reason: reason.into() })
            }
            _ => Ok(until),
        }
    }

    /// Until when reading pauses under limits that may have changed.
    pub fn ready_at(&self, limits: &Limits) -> Option<Timestamp> {
        self.paused_by.as_ref().and_then(|paused_by| paused_by.ready_at(limits))
    }
}

impl PausedBy {
    /// What came has come: it is charged even where the bucket has less, and the debt is waited for. So a message is
    /// never too large for its bucket, and the rate holds over time.
    fn charge(&mut self, came: Came, limits: &Limits, now: Timestamp) {
        let (frames, message) = match came {
            Came::Control | Came::Close => (1, None),
            Came::Message { frames, bytes } => (frames.max(1), Some(bytes)),
        };
        if let Some(limit) = limits.max_frame_rate {
            self.frames.charge(Rate::per_second(limit), frames.into(), now);
        }
        let Some(bytes) = message else { return };
        if let Some(limit) = limits.max_message_rate {
            self.messages.charge(Rate::per_second(limit), 1, now);
        }
        if let Some(limit) = limits.max_byte_rate {
            self.bytes.charge(Rate::per_second(limit), bytes as u64, now);
        }
    }

    /// When all of them have something left.
    fn ready_at(&self, limits: &Limits) -> Option<Timestamp> {
        let at = |bucket: &TokenBucket, rate: Option<Rate>| rate.and_then(|rate| bucket.ready_at(rate));
        [
            at(&self.frames, limits.max_frame_rate.map(Rate::per_second)),
            at(&self.messages, limits.max_message_rate.map(Rate::per_second)),
            at(&self.bytes, limits.max_byte_rate.map(Rate::per_second)),
        ]
        .into_iter()
        .flatten()
        .max()
    }
}
