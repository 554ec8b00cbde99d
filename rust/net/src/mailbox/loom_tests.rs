//! No wake and no sign of room is lost under any interleaving.

use super::*;
use loom::sync::{Arc, Notify};
use loom::thread;

impl Wake for Arc<Notify> {
    fn wake(&self) {
        self.notify();
    }
}

fn explore(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

/// Reads as a shard does: sleeps until woken, comes back by itself while more remains. A lost wake is a
/// deadlock, which loom reports.
fn read(mailbox: &Mailbox<u32, Arc<Notify>>, expected: usize) -> (Vec<u32>, usize) {
    let (mut into, mut rooms) = (Vec::new(), 0);
    while into.len() < expected {
        mailbox.wake.wait();
        while {
            let drained = mailbox.drain(&mut into, 1);
            rooms += usize::from(drained.room);
            drained.more
        } {}
    }
    (into, rooms)
}

#[test]
fn no_wake_is_lost() {
    explore(|| {
        let mailbox = Arc::new(Mailbox::new(10, &Ledger::new(100), Arc::new(Notify::new())));
        let producers: Vec<_> = [1, 2]
            .map(|item| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.append(&mut vec![item], 1, Class::Ordinary).unwrap())
            })
            .into();
        let (mut read, _) = read(&mailbox, 2);
        read.sort_unstable();
        assert_eq!(read, [1, 2]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn no_sign_of_room_is_lost() {
    explore(|| {
        let mailbox = Arc::new(Mailbox::new(4, &Ledger::new(100), Arc::new(Notify::new())));
        let producer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                mailbox.append(&mut vec![1], 2, Class::Ordinary).unwrap();
                mailbox.append(&mut vec![2], 2, Class::Ordinary).unwrap();
                mailbox.must_wait()
            })
        };
        let (read, rooms) = read(&mailbox, 2);
        assert_eq!(read, [1, 2]);
        assert_eq!(rooms, usize::from(producer.join().unwrap()), "each asking is answered once");
    });
}
