//! Receives connections that were dialled · lets a shard's sockets go on with them · owns the promise that nothing is lost
//! between the two: neither what was read ahead, nor keys, nor half a record.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use streamconductor_core::ledger::Ledger;
use streamconductor_core::wire::{Wire, Wrote};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;
use crate::inbox::Alarm;
use crate::sockets::{Read as Brought, Sockets};
use crate::tls::INCOMING;

const LARGE: usize = 300_000;

/// An encrypted server for one client: behind its answer, in as few writes, it sends many bytes; then it answers what the
/// client sends, in capitals. Returns its port, and its certificate's file.
fn server(name: &str) -> (u16, PathBuf, std::thread::JoinHandle<()>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = std::env::temp_dir().join(format!("streamconductor-{name}-{}.pem", std::process::id()));
    std::fs::write(&file, cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let socket = listener.accept().unwrap().0;
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut secure = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
        let mut head = Vec::new();
        let mut piece = [0; 4096];
        while !head.ends_with(b"\r\n\r\n") {
            let count = secure.read(&mut piece).unwrap();
            head.extend_from_slice(&piece[..count]);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let answer = format!(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        secure.write_all(&[answer.as_bytes(), &numbered()].concat()).unwrap();
        let count = secure.read(&mut piece).unwrap();
        secure.write_all(&piece[..count].to_ascii_uppercase()).unwrap();
        let _ = secure.read(&mut piece);
    });
    (port, file, thread)
}

fn numbered() -> Vec<u8> {
    (0..LARGE as u32).map(|number| (number % 251) as u8).collect()
}

/// Reads from the sockets until there are so many bytes.
async fn gather(sockets: &mut Sockets, bytes: &mut Vec<u8>, count: usize) {
    let mut room = vec![0; INCOMING];
    while bytes.len() < count {
        match sockets.read(0, &mut room, INCOMING) {
            Brought::Bytes(size, _) => bytes.extend_from_slice(&room[..size]),
            Brought::Heard(_) => {}
            Brought::Nothing => tokio::task::yield_now().await,
            Brought::Secured(..) | Brought::Unsecured | Brought::Ended => {
                panic!("{} bytes came", bytes.len())
            }
        }
    }
}

#[test]
fn a_shard_goes_on_where_the_dialling_ended() {
    let (port, file, server) = server("handover");
    let trust = Trust::load(&TrustFiles { authorities: Some(file.clone()), identity: None }).unwrap();
    std::fs::remove_file(file).unwrap();
    let options = Dial {
        proxy: ProxyChoice::Direct,
        trust: Some(Arc::new(trust)),
        ..Dial::new(format!("wss://localhost:{port}/"))
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dialled = {
        let first = runtime();
        let dialled =
            first.block_on(dial(&options, &Ledger::new(1 << 30))).map_err(|error| error.to_string());
        dialled.unwrap().detach().unwrap()
        // The runtime that opened it ends here.
    };
    runtime().block_on(async {
        let work = async {
            let mut sockets = Sockets::new(Alarm::default());
            let mut bytes = dialled.read_ahead.to_vec();
            assert!(!bytes.is_empty(), "some came with the answer");
            sockets.insert(0, dialled.socket.into(), dialled.encryption);
            gather(&mut sockets, &mut bytes, LARGE).await;
            assert_eq!(bytes, numbered());
            assert!(matches!(sockets.write(0, &[std::io::IoSlice::new(b"masked")]), Wrote::Took(6)));
            let mut answer = Vec::new();
            gather(&mut sockets, &mut answer, 6).await;
            assert_eq!(answer, b"MASKED");
        };
        tokio::time::timeout(Duration::from_secs(10), work).await.unwrap();
    });
    server.join().unwrap();
}
