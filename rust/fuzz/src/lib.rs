//! The fuzz targets of the core, for libFuzzer. What they do stands beside the core's tests, which run the saved inputs
//! through the same functions on a stable toolchain.

#[path = "../../core/tests/codec_frames/mod.rs"]
mod codec_frames;
#[path = "../../core/tests/fuzz_targets/mod.rs"]
pub mod fuzz_targets;
#[path = "../../core/tests/handshake_support/mod.rs"]
mod handshake_support;
#[path = "../../core/tests/simulation/mod.rs"]
mod simulation;
