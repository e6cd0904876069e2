//! Runs for this crate's tests.

use crate::{log::parse, model::RunReport};
use meshproof_contract::EventRecord;

/// The events of a hand-made run with each kind of verdict.
pub(crate) fn mixed() -> Vec<EventRecord> {
    parse(include_bytes!("../testdata/mixed.ndjson")).expect("the test data is a log")
}

/// Its report.
pub(crate) fn report() -> RunReport {
    RunReport::from_events(&mixed())
}

/// The report of one of the logs `red`, `inconclusive` and `green`.
pub(crate) fn log(name: &str) -> RunReport {
    let bytes: &[u8] = match name {
        "red" => include_bytes!("../testdata/red.ndjson"),
        "inconclusive" => include_bytes!("../testdata/inconclusive.ndjson"),
        "green" => include_bytes!("../testdata/green.ndjson"),
        other => panic!("no log {other}"),
    };
    RunReport::from_events(&parse(bytes).expect("the test data is a log"))
}
