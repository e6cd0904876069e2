//! Frames between harness and agent.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshproof_wire::fuzz::frame(bytes));
