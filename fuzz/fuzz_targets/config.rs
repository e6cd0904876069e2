//! meshproof.yaml.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshproof_cli::fuzz::config(bytes));
