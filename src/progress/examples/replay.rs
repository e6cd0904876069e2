//! Shows a finished run again from its event log, as fast as it was: for looking at the live view without clusters.
//!
//! `cargo run -p meshproof-progress --example replay -- reports/latest/events.ndjson`

use meshproof_contract::EventRecord;
use meshproof_progress::{Format, Progress, Surface};
use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: replay EVENTS.ndjson")?;
    let text = std::fs::read_to_string(&path)?;
    let events = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<EventRecord>, _>>()?;
    let first = events.first().ok_or("the log is empty")?.at;
    let mut progress = Progress::new(Format::Human, Surface::detect());
    let begun = Instant::now();
    for event in &events {
        let due = Duration::try_from(event.at.duration_since(first))?;
        while let Some(left) = due.checked_sub(begun.elapsed()) {
            sleep(left.min(Duration::from_millis(100)));
            progress.tick(first + begun.elapsed());
        }
        progress.handle(event);
    }
    progress.finish(Path::new(&path).parent());
    Ok(())
}
