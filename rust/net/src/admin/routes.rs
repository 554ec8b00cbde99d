//! Receives a request · hands out its answer · owns statuses and bodies of everything that HTTP says here.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use serde_json::json;
use streamconductor_core::codec::Kind;

use super::body::{self, BodyError};
use super::connection::{Context, Ends};
use super::guard::Reach;
use super::service::{AdminService, PublishError};
use super::target::{Route, decode, key_of};

/// Bytes of a reconfiguration; above it 413.
const MAX_CHANGES: usize = 64 * 1024;

type Answer = Response<Full<Bytes>>;

/// Answers one request. HEAD is answered as GET; the connection leaves the body out.
pub async fn answer(context: &Context, ends: Ends, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let guard = |reach| context.guard.judge(ends, &head.uri, &head.headers, reach);
    // Who may ask nothing does not learn either what there is to ask for.
    if let Err((status, why)) = guard(Reach::Health) {
        return refusal(status, why);
    }
    let Some(route) = Route::find(head.uri.path()) else {
        return refusal(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    if !route.allows(&head.method) {
        let refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "the path does not answer this method");
        return with(refused, ALLOW, route.allow());
    }
    if let Err((status, why)) = guard(route.reach()) {
        return refusal(status, why);
    }
    let service = &context.service;
    match route {
        Route::Alive => probe(service.livez()),
        Route::Ready => probe(service.readyz()),
        Route::Status => {
            let status = beside(service, |service| service.status().to_string() + "\n").await;
            status.map_or_else(raised, |body| respond(StatusCode::OK, JSON, body))
        }
        Route::Metrics => {
            let metrics = beside(service, AdminService::metrics).await;
            metrics.map_or_else(raised, |body| respond(StatusCode::OK, crate::metrics::CONTENT_TYPE, body))
        }
        Route::Publish(name) => publish(service, &name, &head.uri, &head.headers, body).await,
        Route::Reconfigure => reconfigure(context, body).await,
    }
}

async fn publish(
    service: &Arc<dyn AdminService>,
    name: &str,
    uri: &Uri,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    let Some(name) = decode(name) else {
        return refusal(StatusCode::BAD_REQUEST, "the channel's name is not percent-encoded text");
    };
    let key = match key_of(uri) {
        Ok(key) => key,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, why),
    };
    let (payload, _charge) = match body::read(body, service.max_payload(), service.ledger()).await {
        Ok(read) => read,
        Err(error) => return unread(error),
    };
    let kind = kind_of(headers, &payload);
    match service.publish(&name, kind, payload, key.as_deref()) {
        Ok(subscribers) => {
            respond(StatusCode::ACCEPTED, JSON, json!({"subscribers": subscribers}).to_string() + "\n")
        }
        Err(error @ PublishError::BadName) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(PublishError::TooBig) => unread(BodyError::TooBig),
        Err(PublishError::Overloaded) => unread(BodyError::OverBudget),
    }
}

async fn reconfigure(context: &Context, body: Incoming) -> Answer {
    let service = &context.service;
    let (changes, _charge) = match body::read(body, MAX_CHANGES, service.ledger()).await {
        Ok(read) => read,
        Err(error) => return unread(error),
    };
    let Ok(changes) = serde_json::from_slice(&changes) else {
        return refusal(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    // Never closed. Those who wait are bounded by the connections, and by how long one may take.
    let _turn = context.changes.acquire().await.ok();
    match beside(service, |service| service.reconfigure(changes)).await {
        Some(Ok(())) => respond(StatusCode::ACCEPTED, JSON, "{}\n"),
        Some(Err(why)) => refusal(StatusCode::BAD_REQUEST, &why),
        None => raised(),
    }
}

/// Text where the sender says so and the bytes are; browsers fail a connection over text that is not UTF-8.
fn kind_of(headers: &HeaderMap, payload: &[u8]) -> Kind {
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = essence.starts_with("text/") || essence == "application/json";
    if is_text && std::str::from_utf8(payload).is_ok() { Kind::Text } else { Kind::Binary }
}

/// Runs what may block on a thread for that. `None`: it panicked.
async fn beside<T: Send + 'static>(
    service: &Arc<dyn AdminService>,
    work: impl FnOnce(&dyn AdminService) -> T + Send + 'static,
) -> Option<T> {
    let service = Arc::clone(service);
    tokio::task::spawn_blocking(move || work(&*service)).await.ok()
}

const JSON: &str = "application/json";

fn probe((status, body): (u16, String)) -> Answer {
    respond(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), JSON, body)
}

fn raised() -> Answer {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made")
}

fn unread(error: BodyError) -> Answer {
    match error {
        BodyError::TooBig => refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than may be"),
        BodyError::OverBudget => {
            let refused =
                refusal(StatusCode::SERVICE_UNAVAILABLE, "the server is overloaded, come back later");
            with(refused, RETRY_AFTER, "1")
        }
        BodyError::Broken => refusal(StatusCode::BAD_REQUEST, "the body is incomplete"),
    }
}

fn refusal(status: StatusCode, why: &str) -> Answer {
    let refused = respond(status, JSON, json!({"error": why}).to_string() + "\n");
    if status == StatusCode::UNAUTHORIZED { with(refused, WWW_AUTHENTICATE, "Bearer") } else { refused }
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let response = with(response, CONTENT_TYPE, content_type);
    // No page may take an answer for a script.
    with(with(response, CACHE_CONTROL, "no-store"), X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut response: Answer, name: HeaderName, value: &'static str) -> Answer {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_where_the_sender_says_so_and_it_is() {
        let kind = |content_type: Option<&'static str>, payload: &[u8]| {
            let headers = content_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
            kind_of(&headers.into_iter().collect(), payload)
        };
        assert_eq!(kind(Some("text/plain; charset=utf-8"), "ü".as_bytes()), Kind::Text);
        assert_eq!(kind(Some("Application/JSON"), b"{}"), Kind::Text);
        assert_eq!(kind(Some("text/plain"), b"\xff"), Kind::Binary);
        assert_eq!(kind(Some("application/octet-stream"), b"a"), Kind::Binary);
        assert_eq!(kind(None, b"a"), Kind::Binary);
    }
}
