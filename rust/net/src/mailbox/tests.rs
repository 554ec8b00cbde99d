//! Order, bounds, accounting, and what a drain tells.

use super::*;

struct Silent;

impl Wake for Silent {
    fn wake(&self) {}
}

fn mailbox(ledger: &Ledger) -> Mailbox<u32, Silent> {
    Mailbox::new(10, ledger, Silent)
}

#[test]
fn one_wake_per_sleep_and_order_is_kept() {
    let mailbox = mailbox(&Ledger::new(1_000));
    let mut into = Vec::new();
    mailbox.append(&mut vec![1, 2], 2, Class::Ordinary).unwrap();
    mailbox.append(&mut vec![3], 1, Class::Reserved).unwrap();
    assert_eq!(mailbox.status().wakes, 1);
    assert_eq!(mailbox.drain(&mut into, 2), Drained { more: true, room: false });
    mailbox.append(&mut vec![4], 1, Class::Ordinary).unwrap();
    assert_eq!(mailbox.status().wakes, 1, "the reader comes back by itself");
    assert_eq!(mailbox.drain(&mut into, 9), Drained { more: false, room: false });
    assert_eq!(into, [1, 2, 3, 4]);
    mailbox.append(&mut Vec::new(), 0, Class::Ordinary).unwrap();
    assert_eq!(mailbox.status().wakes, 1, "nothing came");
    mailbox.append(&mut vec![5], 1, Class::Ordinary).unwrap();
    assert_eq!(mailbox.status().wakes, 2);
}

#[test]
fn a_batch_is_appended_whole_or_refused_whole_and_the_reserve_is_never_refused() {
    let ledger = Ledger::new(1_000);
    let mailbox = mailbox(&ledger);
    let mut into = Vec::new();
    mailbox.append(&mut vec![1, 2], 6, Class::Ordinary).unwrap();
    mailbox.append(&mut vec![3], 50, Class::Reserved).unwrap();
    let mut batch = vec![4, 5];
    let full = mailbox.append(&mut batch, 5, Class::Ordinary).unwrap_err();
    assert_eq!(full, Full { bytes: 5, held: 6, limit: 10 });
    assert_eq!(batch, [4, 5], "the caller keeps what was refused");
    mailbox.append(&mut batch, 4, Class::Ordinary).unwrap();
    assert!(batch.is_empty());
    let status = mailbox.status();
    assert_eq!((status.held, status.reserved, status.items, status.refused), (10, 50, 5, 1));
    assert_eq!(ledger.held_by(Owner::Mailboxes), 60);
    let _ = mailbox.drain(&mut into, 1);
    assert_eq!(mailbox.status().held, 10, "half a batch gives nothing back");
    let _ = mailbox.drain(&mut into, 2);
    assert_eq!((mailbox.status().held, mailbox.status().reserved), (4, 0));
    assert_eq!(ledger.used(), 4);
    drop(mailbox);
    assert_eq!(ledger.used(), 0, "what was never read is given back too");
}

#[test]
fn room_is_told_once_at_half() {
    let mailbox = mailbox(&Ledger::new(1_000));
    let mut into = Vec::new();
    mailbox.append(&mut vec![1], 5, Class::Ordinary).unwrap();
    assert!(!mailbox.must_wait(), "at half there is room");
    mailbox.append(&mut vec![2], 1, Class::Ordinary).unwrap();
    mailbox.append(&mut vec![3], 3, Class::Ordinary).unwrap();
    assert!(mailbox.must_wait());
    assert_eq!(mailbox.drain(&mut into, 1), Drained { more: true, room: true });
    assert_eq!(mailbox.drain(&mut into, 1), Drained { more: true, room: false });
}

#[test]
fn a_burst_leaves_no_storage_behind() {
    let mailbox = Mailbox::new(usize::MAX, &Ledger::new(1_000), Silent);
    let mut into = Vec::new();
    mailbox.append(&mut vec![0; 100_000], 1, Class::Ordinary).unwrap();
    let _ = mailbox.drain(&mut into, usize::MAX);
    assert!(mailbox.lock().items.capacity() < 2 * KEPT);
}

#[test]
fn what_the_reader_keeps_goes_on_taking_room() {
    let ledger = Ledger::new(1_000);
    let mailbox = mailbox(&ledger);
    mailbox.append(&mut vec![1], 8, Class::Ordinary).unwrap();
    assert!(mailbox.must_wait());
    let drained = mailbox.drain(&mut Vec::new(), 9);
    assert!(drained.room);
    mailbox.keep(8);
    assert_eq!(mailbox.append(&mut vec![2], 3, Class::Ordinary).unwrap_err().held, 8);
    mailbox.append(&mut vec![3], 3, Class::Reserved).unwrap();
    assert_eq!(ledger.held_by(Owner::Mailboxes), 11);
    assert!(!mailbox.let_go(8), "nobody has asked again");
    mailbox.keep(8);
    assert!(mailbox.must_wait());
    assert!(mailbox.let_go(8));
    assert!(!mailbox.let_go(0), "told once");
}

#[test]
fn another_limit_holds_from_now_on_and_takes_nothing_away() {
    let mailbox = mailbox(&Ledger::new(1_000));
    let mut into = Vec::new();
    assert!(mailbox.append(&mut vec![1], 15, Class::Ordinary).is_err());
    mailbox.set_limit(30);
    mailbox.append(&mut vec![1], 15, Class::Ordinary).unwrap();
    assert!(!mailbox.must_wait(), "half of the new limit");
    mailbox.append(&mut vec![2], 15, Class::Ordinary).unwrap();
    assert!(mailbox.must_wait());
    mailbox.set_limit(20);
    assert_eq!(mailbox.status().held, 30, "more than the limit, but accepted");
    assert_eq!(mailbox.append(&mut vec![3], 1, Class::Ordinary).unwrap_err().limit, 20);
    assert_eq!(
        mailbox.drain(&mut into, 1),
        Drained { more: true, room: false },
        "15 are more than half of 20"
    );
    assert_eq!(mailbox.drain(&mut into, 1), Drained { more: false, room: true });
}
