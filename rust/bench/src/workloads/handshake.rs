//! Receives nothing · hands out the workloads of the opening handshake · owns the head that they read.

use std::hint::black_box;

use streamconductor_core::config::Origins;
use streamconductor_core::handshake::{HeadReader, ResponseHeaders, Verdict, judge, switching_protocols};

use crate::crowd::{Crowd, HEAD, Terms, routes};
use crate::workload::{Work, Workload, work};

const HEADS: u64 = 16;
const CONNECTIONS: u64 = 100;

/// The workloads of the opening handshake.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "handshake/head", unit: "heads", units: HEADS, prepare: heads },
    Workload { name: "handshake/open-and-end", unit: "connections", units: CONNECTIONS, prepare: openings },
];

/// The head of a browser, from its bytes to those of the 101.
fn heads() -> Box<dyn Work> {
    let (router, _) = routes(false);
    let headers = ResponseHeaders::default();
    work(
        (),
        |()| {},
        move |()| {
            let answer = |_: &u64| {
                let Ok(Some(request)) = HeadReader::new().read(black_box(HEAD.as_bytes())) else {
                    return false;
                };
                let verdict = judge(&request, &router, &Origins::Same, false, &|_| false);
                // The page of the request came over TLS, which a plain socket cannot know: hosts decide.
                let Verdict::Upgrade(upgrade) = verdict else { return false };
                switching_protocols(&request, upgrade.subprotocol.as_deref(), None, &headers).is_ok()
            };
            (0..HEADS).filter(answer).count() as u64
        },
    )
}

/// Connections from accept to open and to the end of their sockets, on a shard that has others.
fn openings() -> Box<dyn Work> {
    let crowd = Crowd::new(0, &Terms::default());
    work(
        crowd,
        |_| {},
        |crowd| {
            let before = crowd.shard.wire.released;
            let opened = (0..CONNECTIONS).filter(|_| crowd.open().is_some()).count() as u64;
            crowd.vanish();
            crowd.work();
            let ended = crowd.shard.wire.released - before;
            opened.min(ended)
        },
    )
}
