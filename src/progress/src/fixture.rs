//! Runs with each kind of verdict: the report's test data, since both show the same logs.

use meshproof_contract::{EventRecord, RunState};

fn parsed(log: &str) -> Vec<EventRecord> {
    log.lines()
        .map(|line| serde_json::from_str(line).expect("the test data is a log"))
        .collect()
}

/// The events of a run with each kind of verdict.
pub(crate) fn mixed() -> Vec<EventRecord> {
    parsed(include_str!("../../report/testdata/mixed.ndjson"))
}

/// That run after its first `count` events.
pub(crate) fn state_after(count: usize) -> RunState {
    folded(&mixed()[..count.min(mixed().len())])
}

/// The run of one of the logs `red`, `inconclusive` and `green`, at its end.
pub(crate) fn log(name: &str) -> RunState {
    folded(&parsed(match name {
        "red" => include_str!("../../report/testdata/red.ndjson"),
        "inconclusive" => include_str!("../../report/testdata/inconclusive.ndjson"),
        "green" => include_str!("../../report/testdata/green.ndjson"),
        other => panic!("no log {other}"),
    }))
}

fn folded(events: &[EventRecord]) -> RunState {
    let mut run = RunState::default();
    events.iter().for_each(|event| run.handle(event));
    run
}
