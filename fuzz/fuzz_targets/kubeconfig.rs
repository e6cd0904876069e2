//! kubeconfig files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshproof_cluster::fuzz::kubeconfig(bytes));
