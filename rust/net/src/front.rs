//! Receives plain requests of the main port · hands out probes and small assets · owns the assets.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use streamconductor_core::handshake::{Request, ResponseHeaders, plain_response};
use streamconductor_core::shard::site::Plain;

use crate::readiness::Readiness;

/// Largest asset in bytes: it is written in one go to a fresh socket.
pub const MAX_ASSET: usize = 1024 * 1024;

/// A small static file.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes, at most [`MAX_ASSET`].
    pub content: Bytes,
}

/// Answers the plain requests of the main port.
pub struct Front {
    /// What `/readyz` asks.
    pub readiness: Arc<Readiness>,
    /// Assets by path.
    pub assets: HashMap<String, Asset>,
}

impl Plain for Front {
    fn knows(&self, path: &str) -> bool {
        matches!(path, "/livez" | "/readyz") || self.assets.contains_key(path)
    }

    fn answer(&self, request: &Request, head_only: bool) -> Bytes {
        let path = request.path();
        if let Some(asset) = self.assets.get(path) {
            return respond(200, asset.content_type, &asset.content, head_only);
        }
        let (status, body) = probe(&self.readiness, path);
        respond(status, "application/json", body.as_bytes(), head_only)
    }
}

/// Status and JSON body of `/livez` and `/readyz`.
pub fn probe(readiness: &Readiness, path: &str) -> (u16, String) {
    if path == "/livez" {
        return (200, "{\"status\":\"alive\"}\n".to_owned());
    }
    let report = readiness.report();
    let status = if report.ready { 200 } else { 503 };
    // A report of strings and numbers always has a JSON form.
    let mut body = serde_json::to_string(&report).unwrap_or_default();
    body.push('\n');
    (status, body)
}

fn respond(status: u16, content_type: &'static str, body: &[u8], head_only: bool) -> Bytes {
    let mut headers = ResponseHeaders::default();
    // A fixed and valid pair, so that adding it cannot fail.
    let _ = headers.add("Cache-Control", "no-cache");
    plain_response(status, content_type, body, head_only, &headers).into()
}
