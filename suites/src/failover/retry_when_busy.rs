//! Events during which the probe generator lagged: they are repeated with a wider spacing of probes, never judged.

use meshproof_contract::{CheckContext, Verdict};
use std::time::Duration;

/// Spacings of probes: the first, unless the operators configure another, and wider ones for busy machines. An outage
/// is known to twice the spacing.
const SPACINGS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];
/// The widest of them.
const WIDEST: Duration = SPACINGS[SPACINGS.len() - 1];
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

/// The next spacing at which a generator with this lag has room, or the widest.
pub fn roomier(lag: u64, than: Duration) -> Duration {
    let mut wider = SPACINGS.into_iter().filter(|spacing| *spacing > than);
    wider
        .find(|spacing| spacing.as_micros() >= u128::from(lag) * 2)
        .unwrap_or(WIDEST)
}

/// The first spacing for which such a lag does not matter, or the widest, since a burst of work passes; none after
/// that.
fn wider(lag: u64, than: Duration) -> Option<Duration> {
    let mut wider = SPACINGS.into_iter().filter(|spacing| *spacing > than);
    wider
        .find(|spacing| spacing.as_micros() >= u128::from(lag) * 3 / 2)
        .or((than < WIDEST).then_some(WIDEST))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_generator_gets_room_until_there_is_no_more() {
        let ms = Duration::from_millis;
        assert_eq!(wider(11_000, ms(10)), Some(ms(20)));
        assert_eq!(wider(25_000, ms(10)), Some(ms(50)));
        assert_eq!(wider(190_000, ms(10)), Some(ms(200)), "a burst passes");
        assert_eq!(wider(1000, ms(200)), None);
        assert_eq!(roomier(11_000, ms(10)), ms(50));
        assert_eq!(roomier(500_000, ms(10)), ms(200));
    }
}
