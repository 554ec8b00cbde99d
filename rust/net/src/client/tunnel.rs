//! Receives a socket to a proxy · hands it back once it leads to the target · owns what is said to the proxy (`CONNECT`,
//! RFC 9110 §9.3.6), and no more.

use std::fmt::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::{DialError, Stage};
use super::head::HeadReader;
use super::link::Link;
use super::progress::Progress;
use super::proxy::Proxy;
use super::sent::basic;
use super::target::Target;

/// Has the proxy lead to `target`. Errors name the proxy, as it is the one that answers.
pub async fn open(
    link: &mut Link,
    proxy: &Proxy,
    target: &Target,
    user_agent: Option<&str>,
    progress: &Progress,
) -> Result<(), DialError> {
    progress.reach(Stage::Tunnelling);
    let name = format!("the proxy {}", proxy.shown());
    let to = target.authority();
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    // Writing to a String cannot fail.
    if let Some(agent) = user_agent {
        let _ = write!(request, "User-Agent: {agent}\r\n");
    }
    if let Some(info) = &proxy.user_info {
        let _ = write!(request, "Proxy-Authorization: {}\r\n", basic(info));
    }
    request.push_str("\r\n");
    let lost = |error: std::io::Error| DialError::unreachable(&name, error.to_string());
    link.write_all(request.as_bytes()).await.map_err(lost)?;

    let (mut reader, mut piece) = (HeadReader::default(), [0; 4096]);
    let head = loop {
        let count = link.read(&mut piece).await.map_err(lost)?;
        if count == 0 {
            return Err(DialError::unreachable(
                &name,
                "it ended the connection before its answer was complete",
            ));
        }
        reader.add(piece.get(..count).unwrap_or_default());
        if let Some(head) = reader.head().map_err(|rule| DialError::bad_answer(&name, rule))? {
            break head;
        }
    };
    if !(200..300).contains(&head.status) {
        return Err(DialError::ProxyRefused { proxy: proxy.shown(), status: head.status });
    }
    // Whatever the target may say, it says nothing before it was spoken to.
    if !reader.into_rest().is_empty() {
        return Err(DialError::bad_answer(&name, "bytes follow its answer to CONNECT at once"));
    }
    Ok(())
}
