//! A hand-made run with each kind of verdict, for this crate's tests.

use crate::{log::parse, model::RunReport};
use meshproof_contract::EventRecord;

/// Its events.
pub(crate) fn mixed() -> Vec<EventRecord> {
    parse(include_bytes!("../testdata/mixed.ndjson")).expect("the test data is a log")
}

/// Its report.
pub(crate) fn report() -> RunReport {
    RunReport::from_events(&mixed())
}
