//! Events on their way, with a record of what became of each trial: what is required is judged before the run ends,
//! while reports are folded after it.

use super::consumer::Events;
use crate::config::Ran;
use tokio::task::JoinHandle;

/// Events that come out at `events`, and their record; it is complete when every clone of the former is dropped.
pub fn record(events: &Events) -> (Events, JoinHandle<Ran>) {
    let (inlet, mut passing) = Events::channel();
    let outlet = events.clone();
    let record = tokio::spawn(async move {
        let mut ran = Ran::default();
        while let Some(event) = passing.recv().await {
            ran.record(&event);
            outlet.send(event);
        }
        ran
    });
    (inlet, record)
}
