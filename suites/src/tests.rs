//! What must hold of every check of every suite. Each test collects all shortcomings and prints one line for each, so
//! that whoever adds a check reads at once what is missing.

mod contributing;
mod imports;
mod known_faults;
mod list;
mod sizes;
mod sources;
mod texts;
mod verdicts;

use std::path::PathBuf;

/// Fails with one line for each shortcoming.
fn assert_none(shortcomings: &[String]) {
    let (count, lines) = (shortcomings.len(), shortcomings.join("\n"));
    assert!(shortcomings.is_empty(), "{count} to do:\n{lines}");
}

/// Compares a committed file of the repository with what it must be; writes it instead where `MESHPROOF_UPDATE` is set.
pub(crate) fn assert_current(path: &str, expected: &str) {
    let file = repository().join(path);
    if std::env::var_os("MESHPROOF_UPDATE").is_some() {
        std::fs::write(&file, expected).expect("a writable repository");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == expected,
        "{path} is out of date; run: MESHPROOF_UPDATE=1 cargo test -p meshproof-suites"
    );
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
