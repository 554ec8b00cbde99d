//! Receives what a client or a proxy wrote into `Forwarded` or `X-Forwarded-For` · fails when it can speak for a trusted
//! proxy · owns what must hold however such a header looks.

use std::net::{IpAddr, SocketAddr};

use streamconductor_core::handshake::{Forwarding, HeadReader, Refusal, TrustedProxies, forwarding};

use crate::handshake_support::UPGRADE;

const PROXY: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [198, 51, 100, 7];

pub fn forwarded(input: &[u8]) {
    for (name, word) in [("Forwarded", "for=198.51.100.7;proto=https"), ("X-Forwarded-For", "198.51.100.7")] {
        // What a client sent, before what the proxy that it came through wrote, in one line and in two.
        for between in [", ", &format!("\r\n{name}: ")] {
            // Behind a line end the proxy's word would stand in a header of another name.
            if between == ", " && input.contains(&b'\n') {
                continue;
            }
            match ask(name, &[input, between.as_bytes(), word.as_bytes()].concat()) {
                Some(Ok(Forwarding::Client { address, .. })) => {
                    assert_eq!(address.map(|one| one.ip()), Some(IpAddr::from(CLIENT)), "{name}{between:?}");
                }
                Some(Ok(other)) => panic!("{other:?}"),
                // A line of the other form may have been smuggled in, and says something else.
                Some(Err(refusal)) => assert_eq!(refusal.status, 400),
                None => {}
            }
        }
        // What a proxy wrote badly: at worst nothing is known but the proxy.
        if let Some(Ok(Forwarding::Client { address, .. })) = ask(name, input) {
            let address = address.expect("the peer has an address").ip();
            assert_eq!(address, address.to_canonical());
        }
    }
}

/// Who the client is with this header; `None`: it is no head of a request.
fn ask(name: &str, value: &[u8]) -> Option<Result<Forwarding, Refusal>> {
    let start = format!("GET /chat HTTP/1.1\r\n{UPGRADE}{name}: ");
    let head = [start.as_bytes(), value, b"\r\n\r\n"].concat();
    let request = HeadReader::new().read(&head).ok()??;
    let peer = SocketAddr::from((PROXY, 4_711));
    assert_eq!(forwarding(&request, &TrustedProxies::default(), Some(peer)), Ok(Forwarding::Ignored));
    let proxies = TrustedProxies::listed(["10.0.0.1"]).unwrap();
    assert_eq!(forwarding(&request, &proxies, None), Ok(Forwarding::Ignored), "a Unix socket is not listed");
    Some(forwarding(&request, &proxies, Some(peer)))
}
