//! What the admin address does with those who are slow, too many or still there at the end.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod admin_support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use admin_support::{Stand, ask, connect, read_head};
use bytes::Bytes;
use serde_json::{Value, json};
use streamconductor_core::codec::Kind;
use streamconductor_core::ledger::Ledger;
use streamconductor_net::admin::{AdminServer, AdminService, MAX_CONNECTIONS, PublishError};

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
const ALIVE: &str = "{\"status\":\"alive\"}\n";

/// Asks on a connection that stays open.
fn ask_on(socket: &mut TcpStream) {
    socket.write_all(LIVEZ).unwrap();
    assert_eq!(read_head(socket).0, 200);
    admin_support::expect(socket, ALIVE.as_bytes());
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let stand = Stand::start(None);
    let mut socket = connect(stand.admin.address());
    for _ in 0..3 {
        ask_on(&mut socket);
    }
    socket.write_all(&LIVEZ.repeat(2)).unwrap();
    for _ in 0..2 {
        assert_eq!(read_head(&mut socket).0, 200);
        admin_support::expect(&mut socket, ALIVE.as_bytes());
    }
}

#[test]
fn a_slow_head_and_an_idle_connection_end_after_five_seconds() {
    let stand = Stand::start(None);
    let started = Instant::now();
    let mut slow = connect(stand.admin.address());
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: local").unwrap();
    let mut idle = connect(stand.admin.address());
    ask_on(&mut idle);
    for mut socket in [slow, idle] {
        assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0);
        let after = started.elapsed();
        assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&after), "{after:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let stand = Stand::start(None);
    let long = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(ask(stand.admin.address(), long).status, 431);
    let many = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: x\r\n".repeat(200));
    assert_eq!(ask(stand.admin.address(), many).status, 431);
    assert_eq!(ask(stand.admin.address(), "no request\r\n\r\n").status, 400);
}

#[test]
fn the_connection_after_the_last_one_waits_for_a_place() {
    let stand = Stand::start(None);
    let mut open: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect(stand.admin.address())).collect();
    for socket in &mut open {
        ask_on(socket);
    }
    let mut next = connect(stand.admin.address());
    next.write_all(LIVEZ).unwrap();
    next.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = next.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    next.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    open.pop();
    assert_eq!(read_head(&mut next).0, 200, "before any of the others became idle for too long");
}

/// A service whose status and changes wait until the test says so.
struct Stuck {
    ledger: Ledger,
    asked: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl AdminService for Stuck {
    fn livez(&self) -> (u16, String) {
        (200, ALIVE.to_owned())
    }

    fn readyz(&self) -> (u16, String) {
        (200, String::new())
    }

    fn status(&self) -> Value {
        self.asked.send(()).unwrap();
        // An error means that the test is over.
        let _ = self.go.lock().unwrap().recv();
        json!({"done": true})
    }

    fn metrics(&self) -> String {
        panic!("a service that fails")
    }

    fn max_payload(&self) -> usize {
        0
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn publish(&self, _: &str, _: Kind, _: Bytes, _: Option<&str>) -> Result<usize, PublishError> {
        Err(PublishError::Overloaded)
    }

    fn reconfigure(&self, _: Value) -> Result<(), String> {
        drop(self.status());
        Ok(())
    }
}

fn stuck() -> (AdminServer, Receiver<()>, Sender<()>) {
    let ((asked, was_asked), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let service = Stuck { ledger: Ledger::new(1_000_000), asked, go: Mutex::new(gone) };
    let admin = AdminServer::start("127.0.0.1:0".parse().unwrap(), None, Arc::new(service)).unwrap();
    (admin, was_asked, go)
}

fn ask_status(address: SocketAddr) -> TcpStream {
    let mut socket = connect(address);
    socket.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    socket
}

#[test]
fn probes_are_answered_while_the_status_waits_and_a_failure_is_an_answer() {
    let (admin, was_asked, go) = stuck();
    let mut waiting = ask_status(admin.address());
    was_asked.recv().unwrap();
    ask_on(&mut connect(admin.address()));
    let failed =
        ask(admin.address(), "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(failed.status, 500);
    go.send(()).unwrap();
    assert_eq!(read_head(&mut waiting).0, 200);
}

#[test]
fn changes_that_wait_hold_up_nothing_but_each_other() {
    let (admin, was_asked, go) = stuck();
    let change =
        "POST /reconfigure HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    let mut waiting: Vec<_> = (0..4).map(|_| connect(admin.address())).collect();
    for socket in &mut waiting {
        socket.write_all(change.as_bytes()).unwrap();
    }
    was_asked.recv().unwrap();
    // As the second of two readers, while the first waits as well.
    let mut status = ask_status(admin.address());
    was_asked.recv().unwrap();
    let metrics = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(admin.address(), metrics).status, 500);
    for _ in 0..5 {
        go.send(()).unwrap();
    }
    assert_eq!(read_head(&mut status).0, 200);
    for mut socket in waiting {
        assert_eq!(read_head(&mut socket).0, 202);
    }
}

#[test]
fn stopping_lets_requests_end_and_idle_connections_go_at_once() {
    let (admin, was_asked, go) = stuck();
    let address = admin.address();
    let started = Instant::now();
    let mut idle = connect(address);
    ask_on(&mut idle);
    let mut waiting = ask_status(address);
    was_asked.recv().unwrap();
    let stopping = std::thread::spawn(move || admin.stop(Duration::from_secs(8)));
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    assert!(started.elapsed() < Duration::from_secs(4), "not because it was idle for too long");
    go.send(()).unwrap();
    assert_eq!(read_head(&mut waiting).0, 200);
    let mut body = String::new();
    waiting.read_to_string(&mut body).unwrap();
    assert_eq!(body, "{\"done\":true}\n");
    assert!(stopping.join().unwrap());
    TcpListener::bind(address).expect("the address is free again");
}

#[test]
fn stopping_does_not_wait_for_a_service_that_is_stuck() {
    let (admin, was_asked, _go) = stuck();
    let mut waiting = ask_status(admin.address());
    was_asked.recv().unwrap();
    let started = Instant::now();
    assert!(admin.stop(Duration::from_millis(50)));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(waiting.read(&mut [0; 1]).unwrap_or(0), 0, "closed without an answer");
}

#[test]
fn a_taken_address_is_an_error_that_names_it() {
    let (admin, _was_asked, _go) = stuck();
    let (asked, _) = mpsc::channel();
    let service = Stuck { ledger: Ledger::new(1), asked, go: Mutex::new(mpsc::channel().1) };
    let error = AdminServer::start(admin.address(), None, Arc::new(service)).err().unwrap();
    assert!(error.to_string().contains(&admin.address().to_string()), "{error}");
}
