//! Receives an encrypted socket · reads, writes and ends it through its encryption · owns when such a socket is looked at
//! again: what is encrypted goes out before anything else does.

use std::io::IoSlice;
use std::task::Context;

use streamconductor_core::wire::Wrote;

use super::{Read, Socket};
use crate::tls::{Incoming, Scratch, Secure};

impl Socket {
    fn tls<'a>(&'a mut self, scratch: &'a mut Scratch) -> Option<(Secure<'a>, Context<'a>)> {
        let encryption = self.encryption.as_deref_mut()?;
        let context = Context::from_waker(&self.waker);
        Some((Secure { stream: &mut self.stream, encryption, scratch }, context))
    }

    /// Reads and decrypts.
    pub(super) fn read_tls(&mut self, scratch: &mut Scratch, into: &mut [u8], most: usize) -> Read {
        let Some((mut tls, mut context)) = self.tls(scratch) else { return Read::Nothing };
        let incoming = tls.read(&mut context, into, most);
        // What reading made us say may not have gone out.
        self.awaits_write |= self.has_unsent();
        match incoming {
            Incoming::Nothing => Read::Nothing,
            Incoming::Plain(0, more) => Read::Heard(more),
            Incoming::Plain(count, more) => Read::Bytes(count, more),
            Incoming::Secured(secured, count, more) => Read::Secured(secured, count, more),
            Incoming::Refused => Read::Unsecured,
            Incoming::Ended => Read::Ended,
        }
    }

    /// Whether the shard has to be told: what was encrypted has gone out, or never will.
    pub(super) fn flush_tls(&mut self, scratch: &mut Scratch) -> bool {
        let Some((mut tls, mut context)) = self.tls(scratch) else { return false };
        if tls.flush(&mut context) == Wrote::Blocked {
            return false;
        }
        if self.is_ending {
            let _ = self.stream.shut_down();
            self.awaits_write = false;
            return false;
        }
        let is_writable = self.stream.poll_write_ready(&mut Context::from_waker(&self.waker)).is_ready();
        self.awaits_write = !is_writable;
        is_writable
    }

    /// Encrypts and writes.
    pub(super) fn write_tls(
        &mut self,
        scratch: &mut Scratch,
        slices: &[IoSlice<'_>],
        offered: usize,
    ) -> Wrote {
        let Some((mut tls, mut context)) = self.tls(scratch) else { return Wrote::Failed };
        let wrote = tls.write(&mut context, slices);
        let is_full = self.has_unsent();
        self.awaits_write |= is_full;
        if let Wrote::Took(count) = wrote
            && count < offered
            && !is_full
        {
            // It has had its share of this turn.
            self.awaits_write = true;
            self.place.list();
        }
        wrote
    }

    /// Says that nothing will follow, then ends our direction.
    pub(super) fn end_tls(&mut self, scratch: &mut Scratch) {
        self.is_ending = true;
        let Some((mut tls, mut context)) = self.tls(scratch) else { return };
        if tls.end(&mut context) {
            let _ = self.stream.shut_down();
        } else {
            self.awaits_write = true;
        }
    }

    fn has_unsent(&self) -> bool {
        self.encryption.as_ref().is_some_and(|encryption| !encryption.unsent().is_empty())
    }
}
