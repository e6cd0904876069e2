//! What all streams of one event come to: figures for the report, and whether they can be judged at all.

mod judge;

use super::now;
use super::patience::Halt;
use super::series::{Figures, Series};
use super::stream::Stream;
use meshproof_contract::{CheckContext, ClockReading, Identity, Unit, Verdict};
use std::time::{Duration, Instant};

/// Losses in a row that a control may have: a lost packet is no failed control.
const CONTROL_TOLERANCE: u64 = 2;
/// For so many microseconds a control may be silent, if its probes are far apart: two lost ones are no lost packets then.
const CONTROL_SILENCE: u64 = 50_000;

/// Something that was done: times on the harness's clock, so that one clock tells all (Kubernetes' own have seconds only).
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The injector was called.
    pub called: Instant,
    /// It returned.
    pub returned: Instant,
}

impl Event {
    /// Something that begins now.
    pub fn begin() -> Self {
        let now = now();
        Self {
            called: now,
            returned: now,
        }
    }
    /// It returned now.
    pub fn end(mut self) -> Self {
        self.returned = now();
        self
    }
}

/// One stream with the clock that stamps it.
#[derive(Clone, Debug)]
pub struct Track {
    pub stream: Stream,
    pub clock: ClockReading,
    pub series: Series,
}

impl Track {
    /// An instant on the agent's clock.
    fn at(&self, instant: Instant) -> u64 {
        self.clock.micros_at(instant)
    }

    /// How long after an instant something happened that the agent's clock stamped.
    fn after(&self, instant: Instant, micros: u64) -> Duration {
        Duration::from_micros(micros.saturating_sub(self.at(instant)))
    }

    /// Whether it has been good [`Series::enough`] times in a row since then.
    pub fn is_settled_since(&self, since: Instant) -> bool {
        self.series.settled(self.at(since), self.series.enough(), |_| true)
    }

    /// Whether it has failed [`Series::enough`] times in a row since then.
    pub fn is_silent_since(&self, since: Instant) -> bool {
        self.series.silent(self.at(since), self.series.enough())
    }

    fn figures(&self, since: Instant) -> Figures {
        self.series.figures(self.at(since))
    }

    /// Whether so many losses in a row are more than a control may have.
    fn is_failed_control(&self, in_a_row: u64) -> bool {
        in_a_row > CONTROL_TOLERANCE || (in_a_row > 1 && in_a_row * self.series.interval() > CONTROL_SILENCE)
    }

    /// In words: `12 of 340 lost (timeout 12), outage 110 to 130 ms`.
    fn told(&self, since: Instant) -> String {
        let figures = self.figures(since);
        if figures.lost == 0 {
            return format!("0 of {} lost, longest gap {}", figures.sent, ms(figures.longest_gap));
        }
        let kinds = self.series.kinds(self.at(since));
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let outage = figures.longest.map_or_else(String::new, |outage| match outage.at_most {
            Some(at_most) => format!("longest outage {} to {}", ms(outage.at_least), ms(at_most)),
            None => format!("an outage of more than {} that did not end", ms(outage.at_least)),
        });
        format!(
            "{} of {} lost ({}), {outage}, first loss to last {}",
            figures.lost,
            figures.sent,
            kinds.join(", "),
            ms(figures.first_to_last)
        )
    }
}

fn ms(micros: u64) -> String {
    format!("{} ms", micros / 1000)
}

/// All streams.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub tracks: Vec<Track>,
}

impl Observed {
    fn tested(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(|track| !track.stream.is_control())
    }

    /// A stream's track.
    pub fn track(&self, stream: Stream) -> Option<&Track> {
        self.tracks.iter().find(|track| track.stream == stream)
    }

    /// The largest lag of any generator, in microseconds.
    pub fn lag(&self) -> u64 {
        self.tracks.iter().map(|track| track.series.lag).max().unwrap_or(0)
    }

    /// Whether a stream has been good [`Series::enough`] times in a row since then (none: ever), by servers that fit.
    fn is_settled(track: &Track, since: Option<Instant>, fits: &impl Fn(Option<&Identity>) -> bool) -> bool {
        let from = since.map_or(0, |since| track.at(since));
        let judged = track.stream.tells_server() && !track.stream.is_control();
        track
            .series
            .settled(from, track.series.enough(), |who| !judged || fits(who))
    }

    /// Whether all streams are settled.
    pub fn all_settled(&self, since: Option<Instant>, fits: &impl Fn(Option<&Identity>) -> bool) -> bool {
        self.tracks.iter().all(|track| Self::is_settled(track, since, fits))
    }

    /// Whether the streams are settled of which each probe stands for itself.
    pub fn fresh_settled(&self, since: Instant, fits: &impl Fn(Option<&Identity>) -> bool) -> bool {
        let mut fresh = self.tracks.iter().filter(|track| track.stream.is_fresh());
        fresh.all(|track| Self::is_settled(track, Some(since), fits))
    }

    /// Whether the streams of which each probe stands for itself are silent.
    pub fn fresh_silent(&self, since: Instant) -> bool {
        let mut fresh = self.tracks.iter().filter(|track| track.stream.is_fresh());
        fresh.all(|track| track.is_silent_since(since))
    }

    /// Whether every stream has known probes that were due that long after an instant.
    pub fn covers(&self, since: Instant, span: Duration) -> bool {
        let covered = |track: &Track| {
            let newest = track.series.newest().unwrap_or(0);
            newest >= track.at(since) + span.as_micros() as u64
        };
        self.tracks.iter().all(covered)
    }

    /// Which streams are not settled, in words.
    pub fn unsettled(&self, since: Option<Instant>, fits: &impl Fn(Option<&Identity>) -> bool) -> String {
        let which = self.tracks.iter().filter(|track| !Self::is_settled(track, since, fits));
        let told = which.map(|track| {
            let from = since.map_or(0, |since| track.at(since));
            let figures = track.series.figures(from);
            let by: Vec<_> = track
                .series
                .by_cluster(from)
                .into_iter()
                .map(|(c, n)| format!("{n} by {c}"))
                .collect();
            format!(
                "{}: {} of {} lost, answered {}",
                track.stream,
                figures.lost,
                figures.sent,
                by.join(", ")
            )
        });
        told.collect::<Vec<_>>().join("; ")
    }

    /// Why nothing can be concluded: a control failed, the generator lagged, samples were lost or not tried.
    pub fn unusable(&self, event: &Event) -> Option<Halt> {
        self.unusable_beside(event, &[])
    }

    /// The same, of streams other than these, which the event is meant to interrupt.
    pub fn unusable_beside(&self, event: &Event, interrupted: &[Stream]) -> Option<Halt> {
        let late = self
            .tracks
            .iter()
            .find(|track| track.series.lag > track.series.interval());
        if let Some(track) = late {
            return Some(Halt::Lagged {
                lag: self.lag(),
                spacing: Duration::from_micros(track.series.interval()),
            });
        }
        let why = |track: &Track| {
            let from = track.at(event.called);
            let figures = track.series.figures(from);
            let in_a_row = figures.longest.map_or(0, |outage| outage.losses);
            let untried = track.series.untried(from);
            let exempt = track.stream == Stream::OtherName || interrupted.contains(&track.stream);
            if track.stream.is_control() && !exempt && track.is_failed_control(in_a_row) {
                return Some(format!(
                    "it failed although nothing was done to it: {}",
                    track.told(event.called)
                ));
            }
            if track.series.overwritten > 0 {
                return Some(format!(
                    "{} samples were not collected in time",
                    track.series.overwritten
                ));
            }
            if let [reason, ..] = untried[..] {
                return Some(format!("the agent could not try {} probes: {reason}", untried.len()));
            }
            (figures.sent == 0).then(|| "nothing is known of it".to_owned())
        };
        let found = self.tracks.iter().find_map(|track| Some((track.stream, why(track)?)));
        found.map(|(stream, why)| Verdict::inconclusive(format!("{stream}: {why}")).into())
    }

    /// Leaves every figure in the report.
    pub fn tell(&self, context: &CheckContext, event: &Event) {
        context.note(format!(
            "one probe of each stream every {}; generators late by up to {:.1} ms; the event took {} ms to call",
            ms(self.tracks.first().map_or(0, |track| track.series.interval())),
            self.lag() as f64 / 1000.0,
            (event.returned - event.called).as_millis()
        ));
        for track in &self.tracks {
            let (subject, figures) = (track.stream.to_string(), track.figures(event.called));
            context.note(format!("{subject}: {}", track.told(event.called)));
            let milliseconds = |name: &str, micros: u64| {
                context.measure(name, subject.clone(), micros as f64 / 1000.0, Unit::Milliseconds);
            };
            let outage = figures
                .longest
                .map_or((0, Some(0)), |outage| (outage.at_least, outage.at_most));
            milliseconds("outage_at_least", outage.0);
            if let Some(at_most) = outage.1 {
                milliseconds("outage_at_most", at_most);
            }
            milliseconds("longest_gap", figures.longest_gap);
            milliseconds("loss_derived_outage", figures.loss_derived);
            milliseconds("first_to_last_loss", figures.first_to_last);
            context.measure("requests", subject.clone(), figures.sent as f64, Unit::Count);
            context.measure("lost_requests", subject, figures.lost as f64, Unit::Count);
        }
        context.measure("generator_lag", "", self.lag() as f64 / 1000.0, Unit::Milliseconds);
    }

    /// Leaves a time since an instant in the report, for each stream that knows one.
    pub fn tell_time(
        &self,
        context: &CheckContext,
        name: &str,
        since: Instant,
        of: impl Fn(&Series, u64) -> Option<u64>,
    ) -> Vec<(Stream, Duration)> {
        let mut told = Vec::new();
        for track in self.tested().filter(|track| track.stream.tells_server()) {
            if let Some(at) = of(&track.series, track.at(since)) {
                let after = track.after(since, at);
                context.measure(
                    name,
                    track.stream.to_string(),
                    after.as_secs_f64() * 1000.0,
                    Unit::Milliseconds,
                );
                told.push((track.stream, after));
            }
        }
        told
    }

    /// Who answered a stream last before an instant.
    pub fn server_before(&self, stream: Stream, instant: Instant) -> Option<&Identity> {
        let track = self.track(stream)?;
        track.series.last_server(track.at(instant))
    }
}
