//! A server whose every byte is scripted, and a runtime to dial from.
#![allow(dead_code)] // each test target uses a part

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use streamconductor_core::ledger::Ledger;
use streamconductor_net::client::{Dial, DialError, Dialled, ProxyChoice, dial};
use streamconductor_net::stream::Stream;
use tokio::io::ReadBuf;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server on a port that the kernel chose. For each connection the script gets its number, the request's head and the
/// socket.
pub struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub fn start(script: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub fn on(
        listener: TcpListener,
        script: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (heads, is_over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (seen, stop, script) = (Arc::clone(&heads), Arc::clone(&is_over), Arc::new(script));
        let thread = std::thread::spawn(move || {
            for (number, socket) in listener.incoming().enumerate() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let mut socket = socket.unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_nodelay(true).unwrap();
                // Each has a thread: nobody waits for somebody who says nothing.
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let head = read_head(&mut socket);
                    seen.lock().unwrap().push(head.clone());
                    script(number, &head, &mut socket);
                });
            }
        });
        Self { address, heads, is_over, thread: Some(thread) }
    }

    /// One that answers every request with the same bytes, `{accept}` being the answer to its key.
    pub fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |_, head, socket| {
            let _ = socket.write_all(answer.replace("{accept}", &accept(head)).as_bytes());
            wait_for_end(socket);
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A 101 with these further lines.
pub fn switching(lines: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {{accept}}\r\n{lines}\r\n"
    )
}

/// Reads up to the blank line, or as far as anything comes.
pub fn read_head(socket: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The answer to the key in a request.
pub fn accept(head: &str) -> String {
    header(head, "Sec-WebSocket-Key").map(|key| derive_accept_key(key.as_bytes())).unwrap_or_default()
}

/// The value of a header in a request.
pub fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Reads until the client has closed. True: it has.
pub fn wait_for_end(socket: &mut impl Read) -> bool {
    let mut piece = [0; 1024];
    loop {
        match socket.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// A dial that the environment of whoever runs the tests has no say in.
pub fn to(url: impl Into<String>) -> Dial {
    Dial { proxy: ProxyChoice::Direct, ..Dial::new(url) }
}

/// Runs on a runtime of its own, bounded in time.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
    // A name that is still being resolved is not waited for.
    runtime.shutdown_background();
    ended.expect("it takes too long")
}

pub fn ledger() -> Ledger {
    Ledger::new(1 << 30)
}

/// Dials, and looks at what came of it while its runtime lives.
pub fn dialled<T>(options: &Dial, look: impl AsyncFnOnce(Dialled) -> T) -> T {
    let ledger = ledger();
    run(async { look(dial(options, &ledger).await.map_err(|error| error.to_string()).unwrap()).await })
}

/// Dials and fails.
pub fn failed(options: &Dial) -> DialError {
    let ledger = ledger();
    run(async { dial(options, &ledger).await.err().expect("a connection was opened") })
}

/// The rule that the answer breaks.
pub fn broken_rule(options: &Dial) -> String {
    match failed(options) {
        DialError::BadAnswer { rule, .. } => rule,
        other => panic!("{other}"),
    }
}

/// Reads so many bytes from a plain socket.
pub async fn read(stream: &mut Stream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut buffer = ReadBuf::new(&mut bytes);
    while buffer.remaining() > 0 {
        let before = buffer.filled().len();
        std::future::poll_fn(|context| stream.poll_read(context, &mut buffer)).await.unwrap();
        assert!(buffer.filled().len() > before, "it ended");
    }
    bytes
}
