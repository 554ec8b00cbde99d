//! Receives the head of an arrival · hands its parts to `on_connect` and handlers, made when asked for · owns the
//! Python view of a request.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use streamconductor_core::shard::event::Arrival;

/// An opening handshake's request; the head is one blob, and each part is made when it is asked for.
#[pyclass(frozen, module = "streamconductor._core")]
pub struct Request {
    pub arrival: Arrival,
    pub bearer_cookie: Option<String>,
}

#[pymethods]
impl Request {
    /// The raw path, percent-encoded as sent, without the query.
    #[getter]
    fn path(&self) -> &str {
        self.arrival.request.path()
    }

    /// The query string without its question mark; empty when there is none.
    #[getter]
    fn query_string(&self) -> &str {
        self.arrival.request.query().unwrap_or_default()
    }

    /// The `Host` header.
    #[getter]
    fn host(&self) -> &str {
        self.arrival.request.host()
    }

    /// The `Origin` header, or None.
    #[getter]
    fn origin(&self) -> Option<String> {
        self.arrival.request.origin().map(lossless)
    }

    /// The subprotocols that the client offers, in its order, bearer tokens left out.
    #[getter]
    fn subprotocols(&self) -> Vec<&str> {
        self.arrival.request.subprotocols().filter(|name| !name.starts_with("bearer.")).collect()
    }

    /// The bearer token, or None.
    #[getter]
    fn bearer_token(&self) -> Option<&str> {
        self.arrival.request.bearer_token(self.bearer_cookie.as_deref())
    }

    /// The parameters of the route, decoded.
    #[getter]
    fn path_params<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let parameters = PyDict::new(python);
        for (name, value) in &self.arrival.parameters {
            parameters.set_item(&**name, value)?;
        }
        Ok(parameters)
    }

    /// All headers in order: name as sent, value decoded as Latin-1.
    #[getter]
    fn raw_headers<'py>(&self, python: Python<'py>) -> Vec<(String, Bound<'py, PyBytes>)> {
        let headers = self.arrival.request.headers();
        headers.map(|(name, value)| (name.to_owned(), PyBytes::new(python, value))).collect()
    }

    /// The headers by lower-case name; several of one name are joined with a comma, cookies with a semicolon
    /// (RFC 9110 §5.3, RFC 6265 §5.4).
    #[getter]
    fn headers<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let headers = PyDict::new(python);
        for (name, value) in self.arrival.request.headers() {
            let name = name.to_ascii_lowercase();
            let value = lossless(value);
            let joined = match headers.get_item(&name)? {
                None => value,
                Some(before) => {
                    let separator = if name == "cookie" { "; " } else { ", " };
                    format!("{}{separator}{value}", before.extract::<String>()?)
                }
            };
            headers.set_item(name, joined)?;
        }
        Ok(headers)
    }

    /// The first header of that name, whatever its case, decoded as Latin-1; None when absent.
    fn header(&self, name: &str) -> Option<String> {
        self.arrival.request.header(name).map(lossless)
    }

    /// The peer's `(host, port)`; None on a Unix socket.
    #[getter]
    fn remote_address(&self) -> Option<(String, u16)> {
        self.arrival.address.map(|address| (address.ip().to_string(), address.port()))
    }

    /// Whether it came over TLS.
    #[getter]
    fn secure(&self) -> bool {
        self.arrival.request.secure
    }

    /// The subject of the client's certificate, or None.
    #[getter]
    fn client_certificate(&self) -> Option<&str> {
        self.arrival.client_certificate.as_deref()
    }

    /// The route's number, in the order of registration.
    #[getter]
    fn route(&self) -> usize {
        self.arrival.route
    }

    /// The connection's id, which it has from here on.
    #[getter]
    fn connection_id(&self) -> String {
        self.arrival.connection.to_string()
    }

    /// Whether a slot is reserved for it already; otherwise somebody must leave.
    #[getter]
    fn has_slot(&self) -> bool {
        self.arrival.has_slot
    }

    /// Whether a verdict is expected.
    #[getter]
    fn asks(&self) -> bool {
        self.arrival.asks
    }

    // Neither headers nor the query: they may hold tokens, and this may end in a log.
    fn __repr__(&self) -> String {
        format!("<Request {} {}>", self.arrival.connection, self.arrival.request.path())
    }
}

/// Latin-1, as HTTP has it: every byte has a character.
fn lossless(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
