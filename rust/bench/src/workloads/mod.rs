//! Receives the workloads of each part of the core · hands out all of them · owns their list.

mod codec;
mod deflate;
mod fan_out;
mod handshake;
mod inbound;
mod ring;
mod wheel;

use crate::workload::Workload;

/// All workloads, by part.
pub const ALL: &[&[Workload]] = &[
    codec::WORKLOADS,
    deflate::WORKLOADS,
    fan_out::WORKLOADS,
    handshake::WORKLOADS,
    inbound::WORKLOADS,
    ring::WORKLOADS,
    wheel::WORKLOADS,
];

/// A text of `size` bytes that repeats `pattern` and ends with a whole character.
fn text(pattern: &str, size: usize) -> String {
    let mut text = pattern.repeat(size / pattern.len() + 1);
    text.truncate(text.floor_char_boundary(size));
    text.push_str(&".".repeat(size - text.len()));
    text
}

/// Readings as a feed sends them: about a kibibyte of JSON.
fn json() -> String {
    let reading = |number: u32| {
        let (temperature, humidity) = (1_500 + number * 37 % 1_000, 300 + number * 91 % 500);
        format!(r#"{{"sensor":"hall-{number}","temperature":{temperature},"humidity":{humidity}}}"#)
    };
    let readings: Vec<String> = (0..18).map(reading).collect();
    format!("[{}]", readings.join(","))
}
