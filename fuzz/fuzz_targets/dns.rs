//! Answers of DNS servers, and the files of a resolver.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshproof_agent::fuzz::dns(bytes));
