//! What contexts take is what they are charged with, and a bomb takes no more than its limit and the shared buffer.
#![allow(clippy::unwrap_used)] // a test may fail

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use streamconductor_core::codec::Kind;
use streamconductor_core::deflate::{Compressor, Contexts, InflateError, Inflater, WindowBits};

struct Counting;

thread_local! {
    /// Bytes that this thread holds, and the most that it held: tests run on threads of their own.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(added: usize, removed: usize) {
    // While a thread is taken down its counts are of no interest.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = (now + added).saturating_sub(removed);
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call is the system allocator's own; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size < layout.size() {
            count(0, layout.size() - size);
        } else {
            // The worst case: both exist for a moment.
            count(size, 0);
            count(0, layout.size());
        }
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that `make`'s result holds, and the most that were held beside what was before.
fn measured<T>(make: impl FnOnce() -> T) -> (T, usize, usize) {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let made = make();
    let (now, most) = HELD.get();
    (made, now.saturating_sub(before), most - before)
}

#[test]
fn contexts_are_charged_with_what_they_take() {
    for bits in (9..=15).filter_map(WindowBits::new) {
        let (_compressor, held, _) = measured(|| Compressor::new(bits));
        assert_eq!(held, Compressor::real_bytes(bits), "{bits:?}");
    }
    let mut contexts = Contexts::default();
    assert_eq!(contexts.real_bytes(), 0);
    let ((), held, _) = measured(|| {
        contexts.inflater().inflate(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00], 100).unwrap();
        for bits in [9, 12, 15] {
            let bits = WindowBits::new(bits).unwrap();
            contexts.encode_message(bits, &mut Vec::new(), Kind::Text, &[b'x'; 1_000]);
        }
    });
    assert_eq!(held, contexts.real_bytes());
    let before = HELD.get().0;
    contexts.let_go();
    assert_eq!((before - HELD.get().0, contexts.real_bytes()), (held, 0));
}

#[test]
fn f23_a_bomb_takes_its_limit_and_64_kibibytes_at_most() {
    // 1 KB that says a megabyte, and 1 MB that says a gigabyte.
    let mut frame = Vec::new();
    let bomb = |size| {
        let mut out = Vec::new();
        assert!(Compressor::new(WindowBits::MAX).encode_message(&mut out, Kind::Binary, &vec![0; size]));
        // Behind the header of at most ten bytes; four where the length takes two of them.
        out.split_off(if out.len() < 65_540 { 4 } else { 10 })
    };
    frame.extend(bomb(1 << 20));
    let gigabyte = bomb(1 << 26).repeat(16);
    assert!(frame.len() < 1_100 && gigabyte.len() < 1_100_000, "{} {}", frame.len(), gigabyte.len());
    for limit in [100, 64 * 1024, 1_000_000, 16 << 20] {
        let mut inflater = Inflater::new();
        inflater.inflate(&[0x00], 0).unwrap();
        let bytes = if limit < 1 << 20 { &frame } else { &gigabyte };
        let (result, held, most) = measured(|| inflater.inflate(bytes, limit));
        assert_eq!((result, held), (Err(InflateError::TooBig), 0));
        // The 64 KiB are there already, shared by all connections.
        assert!(most <= limit + 1, "{most} bytes at a limit of {limit}");
        assert!(inflater.real_bytes() < 64 * 1024 + 50_000);
        // What fits takes its own size, and is all that remains.
        let (message, held, most) = measured(|| inflater.inflate(&frame, 1 << 20).unwrap());
        assert_eq!((message.len(), held), (1 << 20, 1 << 20));
        assert!(most <= (1 << 20) + 64 * 1024, "{most}");
    }
}
