//! Receives the bytes of a socket up to the blank line · hands out a [`Request`], a [`Verdict`] and the bytes
//! of the answer · owns the rules of HTTP/1.1 (RFC 9112) and of the opening handshake (RFC 6455 §4.2).
//!
//! A request that breaks several rules is answered by the first that it meets, in this order:
//!
//! 1. byte by byte, wherever the reads were split: a byte that no head may hold, or a line that does not end
//!    in CRLF (400); target too long (414); more than [`MAX_HEADERS`] lines or [`MAX_HEAD`] bytes (431); at the
//!    end of the first line its form (400) and version (505);
//! 2. at the blank line: header lines, target form and percent-encoding, one valid `Host` (400), then bytes
//!    behind the head of an upgrade (400);
//! 3. in [`judge`]: `CONNECT` (405); a probe or an asset with another method than GET or HEAD (405); no such
//!    route (404); another method than GET (405); not an upgrade (426); WebSocket version (426); a body (400);
//!    `Sec-WebSocket-Key` (400); subprotocols that are not tokens (400); extensions that are no list of such (400);
//!    two `Origin`s (400); the origin rule (403).
//!
//! Before 3 whoever reads asks [`forwarding`] who the client is (400 when proxies contradict each other).
//!
//! Extensions are the business of [`crate::deflate`], and only where they are wanted: no offer is an error. Every
//! step is linear in the bytes of the head. Nothing here logs, and no reason repeats what a header or a query string said.

mod authority;
mod credentials;
mod extensions;
mod forwarded;
mod head;
mod network;
mod origin;
mod request;
mod response;
mod route;
mod syntax;
mod target;
mod upgrade;

pub use forwarded::{Forwarding, forwarding};
pub use head::HeadReader;
pub use network::{NetworkError, TrustedProxies};
pub use origin::{AllowedOrigins, Origin, OriginError};
pub use request::Request;
pub use response::{
    HeaderError, Refusal, ResponseHeaders, SwitchError, plain_response, refusal_response, switching_protocols,
};
pub use route::{Parameters, RouteError, RouteSettings, Router};
pub(crate) use syntax::is_token;
pub use upgrade::{Upgrade, Verdict, judge};

/// Bytes of a request head, blank line included; above it 431. Fits offsets of 16 bits.
pub const MAX_HEAD: usize = 16 * 1024;
/// Header lines of a request; above it 431.
pub const MAX_HEADERS: usize = 100;
/// Bytes of a request target; above it 414.
pub const MAX_TARGET: usize = 8 * 1024;
