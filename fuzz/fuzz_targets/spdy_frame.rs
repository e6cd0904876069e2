//! Frames of SPDY, as kubectl sends them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshproof_apiserver::fuzz::spdy_frame(bytes));
