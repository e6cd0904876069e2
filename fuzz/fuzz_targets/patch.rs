//! Patches in the four languages of the Kubernetes API.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshproof_apiserver::fuzz::patch(bytes));
