//! Events that do not tell enough: they are repeated, with a wider spacing of probes where the generator lagged.

use super::stream::Stream;
use crate::kit::spacing::{SPACINGS, wider};
use meshproof_contract::{CheckContext, Tally, Verdict};
use std::time::Duration;

/// How often an event is carried out.
const ATTEMPTS: usize = 3;

/// Why an event was not judged.
pub enum Unjudged {
    /// Another attempt would not help.
    Final(Verdict),
    /// The generator was late by so many microseconds at this spacing.
    Lagged { lag: u64, spacing: Duration },
    /// A connection stood still as after a lost packet, and nothing else happened.
    StoodStill(StoodStill),
}

/// A stream whose connection stood still for a moment, with its figures.
pub struct StoodStill {
    pub stream: Stream,
    pub summary: String,
}

impl From<Verdict> for Unjudged {
    fn from(verdict: Verdict) -> Self {
        Unjudged::Final(verdict)
    }
}

impl Unjudged {
    fn verdict(self) -> Verdict {
        match self {
            Unjudged::Final(verdict) => verdict,
            Unjudged::Lagged { lag, spacing } => Verdict::inconclusive(format!(
                "the agent's machine is too busy: the probe generator lagged up to {} ms at a spacing of {} ms",
                lag.div_ceil(1000),
                spacing.as_millis()
            )),
            // As often as this it is the event's.
            Unjudged::StoodStill(StoodStill { stream, summary }) => {
                let mut tally = Tally::new();
                let observed = format!("it stood still in {ATTEMPTS} of {ATTEMPTS} events: {summary}");
                tally.finding(
                    stream.to_string(),
                    "unaffected: its connection does not stand still",
                    observed,
                );
                tally.verdict()
            }
        }
    }

    /// The spacing of the next attempt, and a note for people. None: another attempt would not help.
    fn next(&self, spacing: Duration) -> Option<(Duration, String)> {
        match self {
            Unjudged::Final(_) => None,
            Unjudged::Lagged { lag, spacing } => {
                let next = wider(*lag, *spacing)?;
                let note = format!(
                    "repeated with one probe every {} ms: at {} ms the probe generator lagged up to {} ms",
                    next.as_millis(),
                    spacing.as_millis(),
                    lag.div_ceil(1000)
                );
                Some((next, note))
            }
            Unjudged::StoodStill(StoodStill { stream, summary }) => Some((
                spacing,
                format!("repeated: {stream} stood still once, as after a lost packet, and nothing else did: {summary}"),
            )),
        }
    }
}

/// Carries an event out, and again where it did not tell enough.
pub async fn retry_when_busy<F>(context: &CheckContext, mut attempt: impl FnMut(Duration) -> F) -> Verdict
where
    F: Future<Output = Result<Verdict, Unjudged>>,
{
    let configured = context.environment.facts().stream_spacing_ms;
    let mut spacing = configured.map_or(SPACINGS[0], |ms| Duration::from_millis(ms.into()));
    let mut attempts = 1;
    loop {
        let unjudged = match attempt(spacing).await {
            Ok(verdict) => return verdict,
            Err(unjudged) => unjudged,
        };
        let next = unjudged.next(spacing).filter(|_| attempts < ATTEMPTS);
        let Some((next, note)) = next else {
            return unjudged.verdict();
        };
        context.take_notes();
        context.note(note);
        (spacing, attempts) = (next, attempts + 1);
    }
}
