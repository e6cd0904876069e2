//! A run with each kind of verdict: the report's test data, since both show the same log.

use crate::view::View;
use meshproof_contract::EventRecord;

/// Its events.
pub(crate) fn mixed() -> Vec<EventRecord> {
    let log = include_str!("../../report/testdata/mixed.ndjson");
    log.lines()
        .map(|line| serde_json::from_str(line).expect("the test data is a log"))
        .collect()
}

/// The view after the first `count` events.
pub(crate) fn view_after(count: usize) -> View {
    let mut view = View::default();
    mixed().iter().take(count).for_each(|event| view.handle(event));
    view
}
