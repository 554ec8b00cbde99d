//! The load client against servers that do what is asked, and against servers that do not: tungstenite on threads.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use streamconductor_load::failure::Failure;
use streamconductor_load::plan::{Check, Plan, Publisher, ScenarioName};
use streamconductor_load::report::Report;
use streamconductor_load::run::Run;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

fn plan(scenario: ScenarioName, address: SocketAddr, path: &str) -> Plan {
    let pids = if cfg!(target_os = "linux") { vec![std::process::id()] } else { vec![] };
    let url = format!("ws://{address}{path}");
    Plan { scenario, url, pids, warm_up: 0.05, seconds: 0.3, drain: 0.5, ..Plan::default() }
}

fn run(plan: Plan) -> Result<Arc<Report>, Arc<Failure>> {
    Run::start(plan).map_err(Arc::new)?.report()
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
fn echo_server(answer: impl Fn(String) -> Vec<String> + Clone + Send + 'static) -> SocketAddr {
    serve(move |_, mut socket| {
        while let Ok(Message::Text(text)) = socket.read() {
            for answer in answer(text.to_string()) {
                let _ = socket.send(Message::text(answer));
            }
        }
    })
}

fn echo_with(answer: impl Fn(String) -> Vec<String> + Clone + Send + 'static) -> Arc<Report> {
    let plan = plan(ScenarioName::Echo, echo_server(answer), "/echo");
    run(Plan { connections: Some(3), size: 200, ..plan }).unwrap()
}

type Subscribers = Arc<Mutex<Vec<WebSocket<TcpStream>>>>;

/// A fan-out server that decides by (number of the message on the control connection, subscriber) whether to
/// deliver.
fn fan_out(deliver: fn(usize, usize) -> bool) -> Result<Arc<Report>, Arc<Failure>> {
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
    let plan = plan(ScenarioName::Fanout, address, "/fanout");
    run(Plan { connections: Some(5), in_flight: Some(4), ..plan })
}

#[test]
fn round_trips_are_counted() {
    let report = echo_with(|text| vec![text]);
    assert!(report.messages > 10, "{report:?}");
    assert_eq!((report.errors, report.connections), (0, 3));
    assert!(report.latency.p50_us > Some(0.0) && report.latency.p50_us <= report.latency.p99_us);
    assert_eq!(report.cpu_us_per_message.is_some(), cfg!(target_os = "linux"));
    assert!(report.cpu_us_per_message.is_none_or(|spent| spent > 0.0));
}

#[test]
fn a_wrong_a_second_or_no_answer_is_an_error() {
    let wrong = echo_with(|text| vec![text.replace('S', "s")]);
    assert_eq!((wrong.faults.wrong, wrong.messages, wrong.connections), (3, 0, 0));
    assert!(wrong.faults.texts[0].contains("not what was sent"), "{wrong:?}");
    let twice = echo_with(|text| vec![text.clone(), text]);
    assert_eq!(twice.faults.wrong, 3, "{twice:?}");
    let none = echo_with(|_| vec![]);
    assert_eq!((none.messages, none.lost, none.errors), (0, 3, 3));
}

#[test]
fn answers_that_wrap_what_was_sent_are_known_by_their_number() {
    let address = echo_server(|text| vec![format!("{{\"answer\": {text}}}")]);
    let base = Plan { connections: Some(2), ..plan(ScenarioName::Echo, address, "/") };
    let message = Some("{\"n\": {seq}, \"t\": {time}, \"c\": {connection}}".to_owned());
    let labelled = run(Plan { message, check: Check::Label, ..base.clone() }).unwrap();
    assert!(labelled.messages > 10 && labelled.errors == 0, "{labelled:?}");
    let exact = run(Plan { check: Check::Exact, ..base.clone() }).unwrap();
    assert_eq!(exact.faults.wrong, 2);
    let counted = run(Plan { check: Check::Nothing, ..base }).unwrap();
    assert!(counted.messages > 10 && counted.errors == 0, "{counted:?}");
}

#[test]
fn in_an_open_loop_a_stall_is_in_the_latencies() {
    let stalled = Arc::new(Mutex::new(None::<Instant>));
    let address = serve(move |_, mut socket| {
        while let Ok(message) = socket.read() {
            let mut stalled = stalled.lock().unwrap();
            if stalled.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(300) {
                // Once: everybody waits for the lock.
                *stalled = Some(Instant::now() + Duration::from_hours(1));
                thread::sleep(Duration::from_millis(400));
            }
            drop(stalled);
            let _ = socket.send(message);
        }
    });
    let base = plan(ScenarioName::Echo, address, "/");
    let open =
        Plan { connections: Some(4), rate: Some(500.0), warm_up: 0.0, seconds: 1.0, drain: 2.0, ..base };
    let report = run(open).unwrap();
    assert_eq!((report.errors, report.lost), (0, 0), "{report:?}");
    // 200 of 500 were due while it stalled, evenly over 0.4 s; a closed loop would have counted 4 of them.
    let millis = |micros: Option<f64>| micros.unwrap() / 1e3;
    assert!(millis(report.latency.p90_us) > 200.0, "{:?}", report.latency);
    assert!(millis(report.latency.max_us) >= 395.0, "{:?}", report.latency);
    assert!(report.late_us.is_some());
}

#[test]
fn deliveries_are_counted() {
    let report = fan_out(|_, _| true).unwrap();
    assert!(report.messages > 10, "{report:?}");
    assert_eq!((report.errors, report.connections), (0, 6));
}

#[test]
fn subscribers_that_join_late_are_waited_for() {
    // The first probes reach nobody, the next not everybody.
    let report = fan_out(|number, subscriber| number > 4 || (number > 2 && subscriber > 0)).unwrap();
    assert!(report.messages > 10 && report.errors == 0, "{report:?}");
}

#[test]
fn a_publication_that_one_subscriber_misses_is_an_error_and_the_others_go_on() {
    let gap = fan_out(|number, subscriber| number != 20 || subscriber != 2).unwrap();
    assert_eq!((gap.faults.wrong, gap.connections), (1, 5), "{gap:?}");
    assert!(gap.messages > 10);
}

#[test]
fn a_room_that_publishes_to_everybody_needs_no_control_path() {
    let members = Subscribers::default();
    let address = serve(move |_, mut socket| {
        let own = socket.get_ref().try_clone().unwrap();
        let own = WebSocket::from_raw_socket(own, tungstenite::protocol::Role::Server, None);
        let Ok(Message::Text(hello)) = socket.read() else { return };
        assert!(hello.starts_with("join "), "{hello}");
        members.lock().unwrap_or_else(PoisonError::into_inner).push(own);
        let _ = socket.send(Message::text("welcome"));
        while let Ok(message @ Message::Text(_)) = socket.read() {
            for member in members.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                let _ = member.send(message.clone());
            }
        }
    });
    let base = plan(ScenarioName::Fanout, address, "/room");
    let hello = vec!["join {connection}".to_owned()];
    let room = Plan { connections: Some(3), publisher: Publisher::Same, hello, ..base };
    let report = run(room).unwrap();
    assert_eq!((report.errors, report.connections), (0, 4), "{report:?}");
    assert!(report.messages > 10);
}

#[test]
fn a_server_that_ends_a_connection_or_refuses_it_is_an_error() {
    let address = serve(|_, mut socket| {
        let _ = socket.read();
        let _ = socket.close(None);
        let _ = socket.flush();
    });
    let ended = run(Plan { connections: Some(1), ..plan(ScenarioName::Echo, address, "/") }).unwrap();
    assert_eq!((ended.faults.ended, ended.lost, ended.errors), (1, 1, 2), "{ended:?}");

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || drop(listener.accept()));
    let refused = run(Plan { connections: Some(1), ..plan(ScenarioName::Echo, address, "/") }).unwrap_err();
    assert!(matches!(*refused, Failure::Opening { .. }), "{refused:?}");
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = Plan { connections: Some(2), open_timeout: 0.1, ..plan(ScenarioName::Idle, address, "/") };
    let refused = run(silent).unwrap_err().to_string();
    assert!(refused.contains("no opening handshake within 100ms"), "{refused}");
}

#[test]
fn a_run_that_is_stopped_reports_what_it_has() {
    let address = echo_server(|text| vec![text]);
    let base = Plan { connections: Some(2), seconds: 600.0, ..plan(ScenarioName::Echo, address, "/") };
    let under_way = Run::start(base).unwrap();
    while under_way.snapshot().messages < 10 {
        assert!(!under_way.wait(Duration::from_millis(10)));
    }
    under_way.stop();
    assert!(under_way.wait(Duration::from_secs(20)));
    let report = under_way.report().unwrap();
    assert!(report.is_interrupted && report.seconds < 60.0 && report.errors == 0, "{report:?}");
}
