//! Receives what the caller wants to be asked · hands out the request of an opening handshake · owns what may stand in it,
//! and what is a secret between the caller and one origin.

use data_encoding::BASE64;
use streamconductor_core::deflate::OFFER;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::http::header::{self, HeaderName, HeaderValue};

use super::Dial;
use super::error::DialError;
use super::target::{Target, UserInfo};

/// Headers that the opening handshake sets, or that would make a body of what follows, with what to do instead.
const RESERVED: [(HeaderName, &str); 8] = [
    (header::CONNECTION, "is set by the opening handshake"),
    (header::UPGRADE, "is set by the opening handshake"),
    (header::SEC_WEBSOCKET_KEY, "is set by the opening handshake"),
    (header::SEC_WEBSOCKET_VERSION, "is set by the opening handshake"),
    (header::SEC_WEBSOCKET_EXTENSIONS, "is set by the option compression"),
    (header::SEC_WEBSOCKET_PROTOCOL, "is set by the option subprotocols"),
    (header::CONTENT_LENGTH, "has no place in an opening handshake, which has no body"),
    (header::TRANSFER_ENCODING, "has no place in an opening handshake, which has no body"),
];
/// Headers that another origin is not sent.
const SECRET: [HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION, header::HOST];
/// A subprotocol that is offered as a credential, as our own server takes one.
const BEARER: &str = "bearer.";

/// What every request of one connection says.
pub struct Sent {
    headers: Vec<(HeaderName, HeaderValue)>,
    subprotocols: Vec<String>,
    pub offers_compression: bool,
}

impl Sent {
    /// Checks what the caller wants to be sent.
    pub fn new(options: &Dial, user_info: Option<&UserInfo>) -> Result<Self, DialError> {
        let mut sent =
            Self { headers: Vec::new(), subprotocols: Vec::new(), offers_compression: options.compression };
        for (name, value) in &options.headers {
            sent.add_header(name, value)?;
        }
        for subprotocol in &options.subprotocols {
            sent.add_subprotocol(subprotocol)?;
        }
        if let Some(origin) = &options.origin {
            sent.set("origin", header::ORIGIN, origin)?;
        }
        if let Some(token) = &options.bearer_token {
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                let reason = "is empty, or holds something else than visible ASCII characters";
                return Err(DialError::invalid("bearer_token", reason));
            }
            sent.set("bearer_token", header::AUTHORIZATION, &format!("Bearer {token}"))?;
        }
        if let Some(info) = user_info {
            sent.set("url", header::AUTHORIZATION, &basic(info))?;
        }
        if let Some(agent) = options.user_agent.as_ref().filter(|_| !sent.has(&header::USER_AGENT)) {
            sent.set("user_agent", header::USER_AGENT, agent)?;
        }
        Ok(sent)
    }

    /// Leaves out what another origin may not learn.
    pub fn forget_secrets(&mut self) {
        self.headers.retain(|header| !SECRET.contains(&header.0));
        self.subprotocols.retain(|subprotocol| !subprotocol.starts_with(BEARER));
    }

    /// The request that opens a connection to `target`, with a key of its own.
    pub fn request(&self, target: &Target) -> Result<Request, DialError> {
        let invalid = |error: &dyn ToString| DialError::invalid("url", error.to_string());
        let address = format!("ws://{}{}", target.host_header(), target.path_and_query());
        let mut request = Request::builder()
            .uri(address)
            .header(header::HOST, target.host_header())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key())
            .body(())
            .map_err(|error| invalid(&error))?;
        let headers = request.headers_mut();
        if self.has(&header::HOST) {
            headers.remove(header::HOST);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        if !self.subprotocols.is_empty() {
            let value = HeaderValue::from_str(&self.subprotocols.join(", "));
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value.map_err(|error| invalid(&error))?);
        }
        if self.offers_compression {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(OFFER));
        }
        Ok(request)
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|header| header.0 == *name)
    }

    fn add_header(&mut self, name: &str, value: &str) -> Result<(), DialError> {
        let invalid = |reason: String| DialError::invalid("headers", reason);
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{name:?} is no name of a header (RFC 9110 §5.1)")))?;
        if let Some((_, reason)) = RESERVED.iter().find(|reserved| reserved.0 == parsed) {
            return Err(invalid(format!("{parsed} {reason}")));
        }
        if parsed == header::HOST && (self.has(&parsed) || !value.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(invalid("host comes twice, or is none".to_owned()));
        }
        // The value may be a secret, and so is not quoted.
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            invalid(format!("the value of {parsed} holds a line break, a NUL or another control character"))
        })?;
        self.headers.push((parsed, value));
        Ok(())
    }

    fn add_subprotocol(&mut self, subprotocol: &str) -> Result<(), DialError> {
        let invalid = |reason: String| Err(DialError::invalid("subprotocols", reason));
        // Names of headers and subprotocols are the same: tokens.
        if HeaderName::from_bytes(subprotocol.as_bytes()).is_err() {
            return invalid(format!("{subprotocol:?} is no token (RFC 6455 §4.1)"));
        }
        if self.subprotocols.iter().any(|other| other == subprotocol) {
            return invalid(format!("{subprotocol:?} comes twice"));
        }
        self.subprotocols.push(subprotocol.to_owned());
        Ok(())
    }

    /// A header that an option of its own says, and which no other may say as well.
    fn set(&mut self, option: &'static str, name: HeaderName, value: &str) -> Result<(), DialError> {
        if self.has(&name) {
            let reason = format!("the header {name} is said twice; say it in one place");
            return Err(DialError::invalid(option, reason));
        }
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            DialError::invalid(option, "holds a line break, a NUL or another control character")
        })?;
        self.headers.push((name, value));
        Ok(())
    }
}

/// Basic authentication (RFC 7617).
pub fn basic(UserInfo { user, password }: &UserInfo) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}
