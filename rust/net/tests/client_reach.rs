//! Which address a connection is made to: several at once, none, a socket file.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)] // a panic is a failed test

mod client_support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use client_support::{Scripted, accept, dialled, failed, read_head, switching, to, wait_for_end};
use socket2::{Domain, Socket, Type};
use streamconductor_net::client::{Destination, Dial, DialError, Stage};
use streamconductor_net::stream::Stream;

/// An address of ours that does not answer: its queue is full and nobody accepts.
struct Silent {
    address: SocketAddr,
    _held: (Socket, Vec<TcpStream>),
}

impl Silent {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        let wait = Duration::from_millis(200);
        while let Ok(stream) = TcpStream::connect_timeout(&address, wait) {
            held.push(stream);
            assert!(held.len() < 16, "it takes everybody");
        }
        Self { address, _held: (socket, held) }
    }
}

/// An address that refuses: it was ours a moment ago.
fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn at(addresses: Vec<SocketAddr>) -> Dial {
    Dial { destination: Destination::Addresses(addresses), ..to("ws://somewhere.example/") }
}

#[test]
fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
    let (silent, server) = (Silent::new(), Scripted::answering(switching("")));
    let start = Instant::now();
    dialled(&at(vec![silent.address, server.address()]), async |connection| {
        assert_eq!(connection.peer, Some(server.address()));
    });
    // The next one is tried beside it: not at once, and long before the system gives up.
    let time = start.elapsed();
    assert!(time >= Duration::from_millis(240) && time < Duration::from_secs(4), "{time:?}");
}

#[test]
fn one_that_refuses_costs_nothing() {
    let (silent, server) = (Silent::new(), Scripted::answering(switching("")));
    dialled(&at(vec![refusing(), refusing(), server.address(), silent.address]), async |connection| {
        assert_eq!(connection.peer, Some(server.address()));
    });
}

#[test]
fn the_first_that_answers_wins_and_the_others_are_let_go() {
    let (silent, server) = (Silent::new(), Scripted::answering(switching("")));
    let options = at(vec![silent.address, server.address(), refusing()]);
    dialled(&options, async |connection| assert_eq!(connection.peer, Some(server.address())));
    assert_eq!(server.heads().len(), 1);
}

#[test]
fn where_none_answers_each_is_named_or_the_time_is_up() {
    let (one, other) = (refusing(), refusing());
    let error = failed(&at(vec![one, other]));
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
    for named in [one.to_string(), other.to_string(), "somewhere.example:80".to_owned()] {
        assert!(error.to_string().contains(&named), "{error}");
    }
    let silent = Silent::new();
    let limit = Some(Duration::from_millis(300));
    let error = failed(&Dial { open_timeout: limit, ..at(vec![silent.address, silent.address]) });
    assert!(matches!(error, DialError::TimedOut { stage: Stage::Connecting, .. }), "{error}");
    let error = failed(&at(Vec::new()));
    assert!(matches!(error, DialError::Invalid { .. }), "{error}");
}

#[test]
fn a_name_is_resolved_and_one_that_nobody_has_is_told() {
    let server = Scripted::answering(switching(""));
    // Where it has an IPv6 address as well, nobody listens there.
    dialled(&to(format!("ws://localhost:{}/", server.address().port())), async |connection| {
        assert_eq!(connection.peer, Some(server.address()));
    });
    let error = failed(&to("ws://no-such-host.invalid/"));
    assert!(matches!(error, DialError::Resolution { .. } | DialError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[test]
fn a_socket_file_is_as_good() {
    let path = std::env::temp_dir().join(format!("streamconductor-dial-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let head = read_head(&mut socket);
        let answer = switching("").replace("{accept}", &accept(&head));
        socket.write_all(&[answer.as_bytes(), b"early"].concat()).unwrap();
        wait_for_end(&mut socket);
        head
    });
    let options = Dial { destination: Destination::Unix(path.clone()), ..to("ws://app.example/path") };
    dialled(&options, async |connection| {
        assert!(matches!(connection.stream, Stream::Unix(..)) && connection.peer.is_none());
        assert_eq!(&connection.read_ahead[..], b"early");
        drop(connection.detach().unwrap());
    });
    let head = server.join().unwrap();
    assert!(head.starts_with("GET /path HTTP/1.1\r\nHost: app.example\r\n"), "{head}");
    std::fs::remove_file(&path).unwrap();
    let error = failed(&options);
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}
