//! Receives sockets with little room and clients that do not read · looks at what goes over them · owns the promises of
//! an encrypted socket: one record ahead and no more, ends behind what was taken, nothing lost in a pause.

use std::io::{ErrorKind, IoSlice};
use std::os::unix::net::UnixStream;

use streamconductor_core::wire::{Wire, Wrote};
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::inbox::Alarm;
use crate::listener::Raw;
use crate::sockets::{Read as Brought, Sockets};
use crate::stream::Stream;

const PLACE: u32 = 3;

/// A shard's sockets with one in it, and the client at its other end.
struct Pair {
    sockets: Sockets,
    client: ClientConnection,
    socket: UnixStream,
    ledger: Ledger,
    /// Plain bytes that the server has read.
    read: Vec<u8>,
    has_ended: bool,
}

impl Pair {
    fn new(tls: &Tls, client: ClientConnection) -> Self {
        let (mine, theirs) = UnixStream::pair().unwrap();
        for socket in [&mine, &theirs] {
            socket.set_nonblocking(true).unwrap();
            socket2::SockRef::from(socket).set_send_buffer_size(4_096).unwrap();
        }
        let ledger = Ledger::new(1 << 30);
        let mut sockets = Sockets::new(Alarm::default());
        let stream = Stream::from(Raw::Unix(mine));
        sockets.insert(PLACE, stream, tls.begin(&ledger));
        Self { sockets, client, socket: theirs, ledger, read: Vec::new(), has_ended: false }
    }

    /// One turn of the driver for the place, if it is ready. True: the shard was told that it may write.
    async fn turn(&mut self) -> bool {
        // The runtime looks at the kernel.
        tokio::task::yield_now().await;
        let mut ready = Vec::new();
        self.sockets.take_ready(&mut ready);
        if ready.is_empty() {
            return false;
        }
        assert_eq!(ready, [PLACE], "once each");
        self.sockets.begin(PLACE);
        let is_writable = self.sockets.became_writable(PLACE);
        let mut into = vec![0; 64 * 1024];
        let is_more = match self.sockets.read(PLACE, &mut into, 64 * 1024) {
            Brought::Nothing => return is_writable,
            Brought::Ended => {
                self.has_ended = true;
                return is_writable;
            }
            Brought::Bytes(count, more) | Brought::Secured(_, count, more) => {
                self.read.extend_from_slice(&into[..count]);
                more
            }
            Brought::Heard(more) => more,
            Brought::Unsecured => {
                self.sockets.shut_down(PLACE);
                true
            }
        };
        if is_more {
            self.sockets.look_again(PLACE);
        } else {
            self.sockets.watch(PLACE);
        }
        is_writable
    }

    /// The client writes what it has and reads what is there. False: the server has ended.
    fn client_turn(&mut self) -> bool {
        while self.client.wants_write() {
            if self.client.write_tls(&mut &self.socket).is_err() {
                break;
            }
        }
        loop {
            match self.client.read_tls(&mut &self.socket) {
                Ok(0) => return false,
                Ok(_) => drop(self.client.process_new_packets()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return true;
                }
            }
        }
    }

    async fn shake(&mut self) {
        while self.client.is_handshaking() || self.client.wants_write() {
            self.client_turn();
            self.turn().await;
        }
        self.turn().await;
        self.client_turn();
    }

    fn held(&self) -> usize {
        self.ledger.held_by(Owner::Tls)
    }
}

fn run(test: impl AsyncFnOnce(Authority, Tls)) {
    let authority = Authority::new();
    let tls = authority.tls();
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(30), test(authority, tls)).await.unwrap();
    });
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

#[test]
fn what_the_socket_does_not_take_is_one_record_and_goes_out_before_anything_else() {
    run(async |authority, tls| {
        let mut pair = Pair::new(&tls, authority.client());
        pair.shake().await;
        let idle = pair.held();
        let sent = pattern(3_000_000);
        let (mut taken, mut blocked, mut got_back) = (0, 0, Vec::new());
        while got_back.len() < sent.len() {
            // In slices of odd sizes, as rings have them.
            let rest = &sent[taken..];
            let (first, second) = rest.split_at(rest.len().min(1_000));
            match pair.sockets.write(PLACE, &[IoSlice::new(first), IoSlice::new(second)]) {
                Wrote::Took(count) => {
                    taken += count;
                    assert!(count <= 64 * 1024, "four records in a row at most");
                }
                Wrote::Blocked => {
                    blocked += 1;
                    assert_eq!(pair.sockets.write(PLACE, &[IoSlice::new(b"more")]), Wrote::Blocked);
                }
                Wrote::Failed => panic!("failed"),
            }
            assert!(pair.held() <= idle + 17 * 1024, "{} bytes held", pair.held() - idle);
            if blocked % 3 == 0 {
                pair.turn().await;
            }
            pair.client_turn();
            got_back.extend(got(&mut pair.client));
        }
        assert!(got_back == sent, "in order, whole");
        assert!(blocked > 10, "the socket was full {blocked} times");
        pair.turn().await;
        assert_eq!(pair.held(), idle);
    });
}

#[test]
fn a_full_socket_says_when_it_takes_more() {
    run(async |authority, tls| {
        let mut pair = Pair::new(&tls, authority.client());
        pair.shake().await;
        let sent = pattern(500_000);
        let mut taken = 0;
        while let Wrote::Took(count) = pair.sockets.write(PLACE, &[IoSlice::new(&sent[taken..])]) {
            taken += count;
        }
        let mut got_back = Vec::new();
        while got_back.len() < taken {
            // No write in between: readiness alone brings the rest out.
            pair.client_turn();
            got_back.extend(got(&mut pair.client));
            pair.turn().await;
        }
        assert!(got_back == sent[..taken], "what was taken has come");
        let mut turns = 0;
        while !pair.turn().await && turns < 100 {
            pair.client_turn();
            turns += 1;
        }
        assert!(matches!(pair.sockets.write(PLACE, &[IoSlice::new(&sent[taken..])]), Wrote::Took(_)));
    });
}

#[test]
fn our_end_comes_behind_everything_that_was_taken() {
    run(async |authority, tls| {
        let mut pair = Pair::new(&tls, authority.client());
        pair.shake().await;
        let sent = pattern(400_000);
        let mut taken = 0;
        while let Wrote::Took(count) = pair.sockets.write(PLACE, &[IoSlice::new(&sent[taken..])]) {
            taken += count;
        }
        pair.sockets.shut_down(PLACE);
        let mut got_back = Vec::new();
        while pair.client_turn() {
            got_back.extend(got(&mut pair.client));
            pair.turn().await;
        }
        got_back.extend(got(&mut pair.client));
        assert!(got_back == sent[..taken], "{} of {taken} bytes", got_back.len());
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed(), "a close_notify, then FIN");
        assert_eq!((&pair.socket).read(&mut [0; 9]).unwrap(), 0);
        pair.client.send_close_notify();
        while !pair.has_ended {
            pair.client_turn();
            pair.turn().await;
        }
        pair.sockets.release(PLACE, false);
        assert_eq!((pair.held(), pair.ledger.used()), (0, 0));
    });
}

#[test]
fn a_pause_loses_nothing_and_reads_nothing() {
    run(async |authority, tls| {
        let mut pair = Pair::new(&tls, authority.client());
        pair.shake().await;
        pair.sockets.set_reading(PLACE, false);
        say(&mut pair.client, &pattern(50_000));
        for _ in 0..20 {
            pair.client_turn();
            pair.turn().await;
        }
        assert_eq!(pair.read, b"");
        pair.sockets.set_reading(PLACE, true);
        while pair.read.len() < 50_000 {
            pair.client_turn();
            pair.turn().await;
        }
        assert!(pair.read == pattern(50_000));
    });
}

#[test]
fn a_close_notify_behind_bytes_ends_behind_them() {
    run(async |authority, tls| {
        let mut pair = Pair::new(&tls, authority.client());
        pair.shake().await;
        say(&mut pair.client, b"last words");
        pair.client.send_close_notify();
        pair.client_turn();
        // No event follows the one that announced both.
        while pair.read.is_empty() {
            pair.turn().await;
        }
        assert!(!pair.has_ended);
        pair.turn().await;
        assert!(pair.has_ended);
        assert_eq!(pair.read, b"last words");
        pair.sockets.release(PLACE, false);
        while pair.client_turn() {}
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed(), "ours answers it");
    });
}

#[test]
fn a_refused_peer_gets_its_alert_while_it_still_sends() {
    run(async |authority, tls| {
        let mut pair = Pair::new(&tls, authority.client());
        (&pair.socket).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut ended = false;
        while !ended {
            pair.turn().await;
            let _ = (&pair.socket).write(&[b'x'; 100]);
            let mut bytes = [0; 100];
            match (&pair.socket).read(&mut bytes) {
                Ok(0) => ended = true,
                Ok(count) => answer.extend_from_slice(&bytes[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50]);
        assert!(!pair.has_ended, "the shard ends it, when it has lingered");
        assert!(pair.read.starts_with(b"xxx"), "counted, and never looked at");
    });
}
