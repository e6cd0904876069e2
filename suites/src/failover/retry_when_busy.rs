//! Events during which the probe generator lagged so much that too little is known: they are repeated with a wider
//! spacing of probes.

use crate::kit::spacing::{SPACINGS, wider};
use meshproof_contract::{CheckContext, Verdict};
use std::time::Duration;

/// How often an event is carried out.
const ATTEMPTS: usize = 3;

/// Why an event was not judged.
pub enum Unjudged {
    /// Another attempt would not help.
    Final(Verdict),
    /// The generator was late by so many microseconds at this spacing.
    Lagged { lag: u64, spacing: Duration },
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
        }
    }
}

/// Carries an event out, again with wider spacings where the generator lagged.
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
        let next = match &unjudged {
            Unjudged::Lagged { lag, spacing } if attempts < ATTEMPTS => wider(*lag, *spacing),
            _ => None,
        };
        let (Some(next), Unjudged::Lagged { lag, spacing: was }) = (next, &unjudged) else {
            return unjudged.verdict();
        };
        context.take_notes();
        context.note(format!(
            "repeated with one probe every {} ms: at {} ms the probe generator lagged up to {} ms",
            next.as_millis(),
            was.as_millis(),
            lag.div_ceil(1000)
        ));
        (spacing, attempts) = (next, attempts + 1);
    }
}
