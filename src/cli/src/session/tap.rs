//! Events on their way, with a note of what became of each trial: what is required is judged before the run ends, while reports are folded after it.

use super::consumer::Events;
use crate::config::required::Ran;
use tokio::task::JoinHandle;

/// Events that come out at `events`, and the note of them; it is complete when every clone of the former is dropped.
pub fn tap(events: &Events) -> (Events, JoinHandle<Ran>) {
    let (inlet, mut passing) = Events::channel();
    let outlet = events.clone();
    let note = tokio::spawn(async move {
        let mut ran = Ran::default();
        while let Some(event) = passing.recv().await {
            ran.note(&event);
            outlet.send(event);
        }
        ran
    });
    (inlet, note)
}
