//! The floor does what is asked of every server, for a fast wrong answer is worth nothing: tungstenite against the program.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tungstenite::{Message, WebSocket};

struct Floor {
    process: Child,
    port: u16,
}

impl Floor {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_streamconductor-bench-floor"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (port, pid) = line.trim().split_once(' ').unwrap();
        assert_eq!(pid, process.id().to_string());
        Self { port: port.parse().unwrap(), process }
    }

    fn open(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        tungstenite::client(format!("ws://127.0.0.1:{}{path}", self.port), stream).unwrap().0
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn messages_come_back_pings_are_answered_and_a_close_ends() {
    let floor = Floor::start();
    let mut socket = floor.open("/echo");
    // From nothing to more than one read takes.
    for length in [0, 5, 126, 70_000, 200_000] {
        let sent = Message::text("x".repeat(length));
        socket.send(sent.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), sent);
    }
    socket.send(Message::binary(vec![0, 255])).unwrap();
    assert_eq!(socket.read().unwrap(), Message::binary(vec![0, 255]));
    socket.send(Message::Ping(b"there?".as_slice().into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(b"there?".as_slice().into()));
    socket.close(None).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Close(_)));
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn every_subscriber_has_every_publication_in_order_whatever_another_does() {
    let floor = Floor::start();
    let mut subscribers: Vec<_> = (0..3).map(|_| floor.open("/fanout")).collect();
    // It reads nothing until the end, and leaves megabytes waiting.
    let mut stalled = floor.open("/fanout");
    drop(floor.open("/fanout"));
    let mut publisher = floor.open("/control");
    let text = |number: usize| format!("{number} {}", "x".repeat(10_000));
    for number in 0..1_000 {
        publisher.send(Message::text(text(number))).unwrap();
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.read().unwrap(), Message::text(text(number)));
        }
    }
    for number in 0..1_000 {
        assert_eq!(stalled.read().unwrap(), Message::text(text(number)));
    }
}
