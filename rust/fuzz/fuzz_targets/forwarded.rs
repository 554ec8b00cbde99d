#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| streamconductor_fuzz::fuzz_targets::forwarded(input));
