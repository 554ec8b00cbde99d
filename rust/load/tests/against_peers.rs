//! The load client against servers that do what is asked, and against servers that do not: tungstenite on threads.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use streamconductor_load::echo::{self, Echo};
use streamconductor_load::failure::Failure;
use streamconductor_load::fanout::{self, Fanout};
use streamconductor_load::report::Window;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

fn window() -> Window {
    let length = Duration::from_millis(50);
    let processes = if cfg!(target_os = "linux") { vec![std::process::id()] } else { vec![] };
    Window { warm_up: length, length, processes }
}

/// Accepts connections until the process ends, each on a thread of its own.
fn serve(each: impl Fn(String, WebSocket<TcpStream>) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let each = each.clone();
            thread::spawn(move || {
                let mut path = String::new();
                #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
                let note = |request: &Request, response: Response| {
                    request.uri().path().clone_into(&mut path);
                    Ok(response)
                };
                let socket = tungstenite::accept_hdr(stream.unwrap(), note).unwrap();
                each(path, socket);
            });
        }
    });
    address
}

/// An echo server that changes each message by `answer`.
fn echo_with(answer: impl Fn(String) -> Vec<String> + Clone + Send + 'static) -> Result<f64, Failure> {
    let address = serve(move |_, mut socket| {
        while let Ok(Message::Text(text)) = socket.read() {
            for answer in answer(text.to_string()) {
                let _ = socket.send(Message::text(answer));
            }
        }
    });
    let echo = Echo { address, path: "/echo".to_owned(), connections: 3, size: 200 };
    echo::run(&echo, &window()).map(|report| {
        assert!(0.0 < report.p50_us && report.p50_us <= report.p99_us);
        assert_eq!(report.cpu_us_per_message.is_some(), cfg!(target_os = "linux"));
        assert!(report.cpu_us_per_message.is_none_or(|spent| spent > 0.0));
        report.messages_per_second
    })
}

type Subscribers = Arc<Mutex<Vec<WebSocket<TcpStream>>>>;

/// A fan-out server that decides by (number of the message on the control connection, subscriber) whether to
/// deliver.
fn fan_out(deliver: fn(usize, usize) -> bool) -> Result<u64, Failure> {
    let subscribers = Subscribers::default();
    let address = serve(move |path, mut socket| {
        if path == "/fanout" {
            subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
            return;
        }
        let mut number = 0;
        while let Ok(Message::Text(text)) = socket.read() {
            let mut subscribers = subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            for (subscriber, socket) in subscribers.iter_mut().enumerate() {
                if deliver(number, subscriber) {
                    let _ = socket.send(Message::Text(text.clone()));
                }
            }
            number += 1;
        }
    });
    let fanout = Fanout {
        address,
        path: "/fanout".to_owned(),
        control_path: "/control".to_owned(),
        subscribers: 5,
        size: 128,
        in_flight: 4,
    };
    fanout::run(&fanout, &window()).map(|report| report.messages)
}

#[test]
fn round_trips_are_counted() {
    assert!(echo_with(|text| vec![text]).unwrap() > 100.0);
}

#[test]
fn a_wrong_a_second_or_no_answer_is_an_error() {
    let wrong = echo_with(|text| vec![text.replace('S', "s")]);
    assert!(matches!(wrong, Err(Failure::Unexpected { .. })), "{wrong:?}");
    let twice = echo_with(|text| vec![text.clone() + "!", text]);
    assert!(matches!(twice, Err(Failure::Unexpected { .. })), "{twice:?}");
    let none = echo_with(|_| vec![]);
    assert!(matches!(none, Err(Failure::Silence(_))), "{none:?}");
}

#[test]
fn deliveries_are_counted() {
    assert!(fan_out(|_, _| true).unwrap() > 100);
}

#[test]
fn subscribers_that_join_late_are_waited_for() {
    // The first probes reach nobody, the next not everybody.
    assert!(fan_out(|number, subscriber| number > 4 || (number > 2 && subscriber > 0)).unwrap() > 100);
}

#[test]
fn a_publication_that_one_subscriber_misses_is_an_error() {
    let gap = fan_out(|number, subscriber| number != 20 || subscriber != 2);
    assert!(matches!(&gap, Err(Failure::Unexpected { .. })), "{gap:?}");
}

#[test]
fn a_server_that_ends_a_connection_or_refuses_it_is_an_error() {
    let address = serve(|_, mut socket| {
        let _ = socket.read();
        let _ = socket.close(None);
        let _ = socket.flush();
    });
    let echo = Echo { address, path: "/".to_owned(), connections: 1, size: 16 };
    let ended = echo::run(&echo, &window());
    assert!(matches!(ended, Err(Failure::Ended { connection: 0, .. })), "{ended:?}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || drop(listener.accept()));
    let refused = echo::run(&Echo { address, ..echo }, &window());
    assert!(matches!(refused, Err(Failure::Opening { .. })), "{refused:?}");
}
