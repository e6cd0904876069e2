//! Renders the page of an event log: for looking at a change of the template without clusters.
//!
//! `cargo run -p meshproof-report --example render -- reports/latest > report.html`

use meshproof_report::{RunReport, html, read_log};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: render EVENTS.ndjson")?;
    let events = read_log(Path::new(&path))?;
    println!("{}", html(&RunReport::from_events(&events)));
    Ok(())
}
