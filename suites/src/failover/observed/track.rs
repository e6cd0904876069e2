//! One stream with the clock that stamps it.

use crate::failover::{
    event::Event,
    series::{Figures, Series},
    stream::Stream,
};
use meshproof_contract::{ClockReading, Identity};
use std::time::{Duration, Instant};

/// Losses in a row that a control may have: a lost packet is not a failed control.
const CONTROL_TOLERANCE: u64 = 2;
/// For so many microseconds a control may be silent, if its probes are far apart: two losses are more than lost packets
/// then.
const CONTROL_SILENCE: u64 = 50_000;

/// One probe of so many may be missing since the agent was not scheduled: it only makes times less well known.
const NOT_SENT_OF: u64 = 20;

/// A stream.
#[derive(Clone, Debug)]
pub struct Track {
    pub stream: Stream,
    pub clock: ClockReading,
    pub series: Series,
}

impl Track {
    /// An instant on the agent's clock.
    pub fn at(&self, instant: Instant) -> u64 {
        self.clock.micros_at(instant)
    }

    /// How long after an instant something happened that the agent's clock stamped.
    pub fn after(&self, instant: Instant, micros: u64) -> Duration {
        Duration::from_micros(micros.saturating_sub(self.at(instant)))
    }

    /// Whether it has been good [`Series::stable_count`] times in a row since then (none: ever), by servers that fit.
    pub fn is_stable(&self, since: Option<Instant>, fits: &impl Fn(Option<&Identity>) -> bool) -> bool {
        let from = since.map_or(0, |since| self.at(since));
        let judged = self.stream.reports_server() && !self.stream.is_control();
        self.series
            .is_stable(from, self.series.stable_count(), |server| !judged || fits(server))
    }

    /// The same, by any server.
    pub fn is_stable_since(&self, since: Instant) -> bool {
        self.series
            .is_stable(self.at(since), self.series.stable_count(), |_| true)
    }

    /// Whether it has failed [`Series::stable_count`] times in a row since then.
    pub fn is_silent_since(&self, since: Instant) -> bool {
        self.series.is_silent(self.at(since), self.series.stable_count())
    }

    /// Its figures since then.
    pub fn figures(&self, since: Instant) -> Figures {
        self.series.figures(self.at(since))
    }

    /// Whether so many losses in a row are more than a control may have.
    pub fn is_failed_control(&self, in_a_row: u64) -> bool {
        in_a_row > CONTROL_TOLERANCE || (in_a_row > 1 && in_a_row * self.series.interval() > CONTROL_SILENCE)
    }

    /// Why nothing can be concluded from it; `as_control`: it must not fail.
    pub fn unusable(&self, event: &Event, as_control: bool) -> Option<String> {
        let from = self.at(event.called);
        let figures = self.series.figures(from);
        let in_a_row = figures.longest.map_or(0, |outage| outage.losses);
        if as_control && self.is_failed_control(in_a_row) {
            let summary = self.summary(event.called);
            return Some(format!("it failed although the event does not affect it: {summary}"));
        }
        if self.series.overwritten > 0 {
            return Some(format!(
                "{} samples were not collected in time",
                self.series.overwritten
            ));
        }
        let few = figures.sent / NOT_SENT_OF;
        if let not_sent @ [reason, ..] = &self.series.not_sent(from)[..]
            && not_sent.len() as u64 > few
        {
            return Some(format!("the agent could not send {} probes: {reason}", not_sent.len()));
        }
        (figures.sent == 0).then(|| "no probe has an outcome".to_owned())
    }

    /// Its figures since then, for people: `12 of 340 lost (timeout 12), longest outage 110 to 130 ms`.
    pub fn summary(&self, since: Instant) -> String {
        let figures = self.figures(since);
        if figures.lost == 0 {
            return format!("0 of {} lost, longest gap {}", figures.sent, ms(figures.longest_gap));
        }
        let kinds = self.series.kinds(self.at(since)).into_iter();
        let kinds: Vec<String> = kinds.map(|(kind, count)| format!("{kind} {count}")).collect();
        let outage = figures.longest.map_or_else(String::new, |outage| match outage.at_most {
            Some(at_most) => format!("longest outage {} to {}", ms(outage.at_least), ms(at_most)),
            None => format!("an outage of more than {} without end", ms(outage.at_least)),
        });
        format!(
            "{} of {} lost ({}), {outage}, first to last loss {}",
            figures.lost,
            figures.sent,
            kinds.join(", "),
            ms(figures.first_to_last)
        )
    }
}

/// Whole milliseconds.
pub fn ms(micros: u64) -> String {
    format!("{} ms", micros / 1000)
}
