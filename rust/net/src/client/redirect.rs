//! Receives the answer of one target after the other · hands out the open connection · owns which redirects are followed and
//! what is left behind on the way.

use bytes::Bytes;

use super::dialled::Dialled;
use super::error::DialError;
use super::opening::{Answer, Terms};
use super::refusal::Refusal;
use super::target::Target;
use super::{Course, Destination};

/// Redirects that are followed.
pub const MAX_REDIRECTS: usize = 10;

impl Course<'_> {
    /// Goes from one target to the next until a connection is open.
    pub(super) async fn run(mut self, mut target: Target) -> Result<Dialled, DialError> {
        for _ in 0..=MAX_REDIRECTS {
            self.progress.turn_to(target.authority());
            let (mut link, answer, peer) = self.visit(&target).await?;
            let Answer { head, rest, terms } = answer;
            if let Some(Terms { subprotocol, agreement }) = terms {
                let parts = link.into_parts(rest);
                return Ok(Dialled {
                    stream: parts.stream,
                    encryption: parts.encryption,
                    secured: parts.secured,
                    read_ahead: Bytes::from(parts.read_ahead),
                    subprotocol,
                    agreement,
                    status: head.status,
                    headers: head.headers,
                    peer,
                    url: target.as_str().to_owned(),
                });
            }
            let location = head.first("location").filter(|_| matches!(head.status, 301..=303 | 307 | 308));
            let Some(location) = location else {
                let refusal = Refusal::read(target.shown(), head, rest, &mut link).await;
                return Err(DialError::Status(Box::new(refusal)));
            };
            target = self.follow(&target, location)?;
        }
        Err(DialError::TooManyRedirects { limit: MAX_REDIRECTS, from: target.authority() })
    }

    /// The next target. What only the first origin may know is forgotten for good: a way back may be somebody's trap.
    fn follow(&mut self, from: &Target, location: &[u8]) -> Result<Target, DialError> {
        let refused =
            |to: &str, reason| Err(DialError::Redirect { from: from.authority(), to: to.to_owned(), reason });
        let Some(to) = from.redirected(location) else {
            return refused("elsewhere", "its Location is no URL of a WebSocket");
        };
        if from.is_secure() && !to.is_secure() {
            return refused(to.shown(), "the connection would no longer be encrypted");
        }
        if !to.has_origin_of(from) {
            if self.options.destination != Destination::Url {
                return refused(
                    to.shown(),
                    "it is another origin, and where to connect was fixed by the caller",
                );
            }
            self.sent.forget_secrets();
            self.server_hostname = None;
            self.is_identified = false;
        }
        Ok(to)
    }
}
