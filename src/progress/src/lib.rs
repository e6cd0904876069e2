//! What people see of a run: a live view on a terminal, plain lines elsewhere, and a short result at the end.
//!
//! Knows events only. Everything is rendered by pure functions of a [`RunState`](meshproof_contract::RunState);
//! [`Progress`] owns the terminal and decides what goes where. The only crate that names indicatif.

mod line;
mod live;
mod palette;
mod progress;
mod result;
mod screen;
mod terminal;

pub use palette::Palette;
pub use progress::{Format, Progress};
pub use screen::{Screen, Surface};

#[cfg(test)]
mod fixture;
#[cfg(test)]
#[path = "../../report/src/snapshot.rs"]
mod snapshot;
