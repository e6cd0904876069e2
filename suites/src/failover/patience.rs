//! What a busy machine costs: an event during which the generator lagged is repeated with a wider spacing, never judged.

use meshproof_contract::{CheckContext, Verdict};
use std::time::Duration;

/// Spacings of probes: the first, unless the operators want another, and wider ones for busy machines. An outage is known to twice the spacing.
const SPACINGS: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];
/// How often an event is tried.
const TRIES: usize = 3;

/// Why an event was not judged.
pub enum Halt {
    /// Nothing else would come of another try.
    For(Verdict),
    /// The generator was late by so many microseconds at this spacing.
    Lagged { lag: u64, spacing: Duration },
}

impl From<Verdict> for Halt {
    fn from(verdict: Verdict) -> Self {
        Halt::For(verdict)
    }
}

impl Halt {
    fn verdict(self) -> Verdict {
        match self {
            Halt::For(verdict) => verdict,
            Halt::Lagged { lag, spacing } => Verdict::inconclusive(format!(
                "the generator of the probes was up to {} ms late at a spacing of {} ms: the agent's machine is too busy",
                lag.div_ceil(1000),
                spacing.as_millis()
            )),
        }
    }
}

/// The next spacing at which so late a generator has room, or the widest.
pub fn roomier(lag: u64, than: Duration) -> Duration {
    let mut wider = SPACINGS.into_iter().filter(|spacing| *spacing > than);
    wider
        .find(|spacing| spacing.as_micros() >= u128::from(lag) * 2)
        .unwrap_or(SPACINGS[SPACINGS.len() - 1])
}

/// The first spacing for which so late a generator is not late, or the widest, since a burst of work passes; none after that.
fn wider(lag: u64, than: Duration) -> Option<Duration> {
    let mut wider = SPACINGS.into_iter().filter(|spacing| *spacing > than);
    let widest = SPACINGS[SPACINGS.len() - 1];
    wider
        .find(|spacing| spacing.as_micros() >= u128::from(lag) * 3 / 2)
        .or((than < widest).then_some(widest))
}

/// Carries an event out, again with wider spacings where the generator lagged.
pub async fn patiently<F>(context: &CheckContext, mut carry_out: impl FnMut(Duration) -> F) -> Verdict
where
    F: Future<Output = Result<Verdict, Halt>>,
{
    let wanted = context.environment.facts().stream_spacing_ms;
    let mut least = wanted.map_or(SPACINGS[0], |ms| Duration::from_millis(ms.into()));
    for attempt in 1..=TRIES {
        let halt = match carry_out(least).await {
            Ok(verdict) => return verdict,
            Err(halt) => halt,
        };
        match halt {
            Halt::Lagged { lag, spacing } if attempt < TRIES => {
                let Some(next) = wider(lag, spacing) else {
                    return Halt::Lagged { lag, spacing }.verdict();
                };
                context.take_notes();
                context.note(format!(
                    "repeated with one probe every {} ms: at {} ms the generator was up to {} ms late",
                    next.as_millis(),
                    spacing.as_millis(),
                    lag.div_ceil(1000)
                ));
                least = next;
            }
            halt => return halt.verdict(),
        }
    }
    Verdict::inconclusive("no try was made")
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
