//! What all streams of one event show together, and whether they can be judged at all.

mod judge;
mod report;
mod track;

use super::{event::Event, retry_when_busy::Unjudged, stream::Stream};
use meshproof_contract::{Identity, Verdict};
use std::time::{Duration, Instant};
pub use track::Track;

/// Times must be known at least so well, in microseconds: to a quarter of the shortest limit that is judged, the 2 s of
/// `thresholds.endpointRemoval`.
pub const COARSEST: u64 = 500_000;

/// All streams.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub tracks: Vec<Track>,
}

impl Observed {
    /// The streams that are judged.
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

    /// Whether all streams are stable since then, answered by servers that fit.
    pub fn all_stable(&self, since: Option<Instant>, fits: &impl Fn(Option<&Identity>) -> bool) -> bool {
        self.tracks.iter().all(|track| track.is_stable(since, fits))
    }

    /// Whether the streams are stable of which each probe is independent.
    pub fn fresh_stable(&self, since: Instant, fits: &impl Fn(Option<&Identity>) -> bool) -> bool {
        let mut fresh = self.tracks.iter().filter(|track| track.stream.is_fresh());
        fresh.all(|track| track.is_stable(Some(since), fits))
    }

    /// Whether the streams are silent of which each probe is independent.
    pub fn fresh_silent(&self, since: Instant) -> bool {
        let mut fresh = self.tracks.iter().filter(|track| track.stream.is_fresh());
        fresh.all(|track| track.is_silent_since(since))
    }

    /// Whether every stream has outcomes of probes that were due that long after an instant.
    pub fn covers(&self, since: Instant, span: Duration) -> bool {
        let covered = |track: &Track| {
            let newest = track.series.newest().unwrap_or(0);
            newest >= track.at(since) + span.as_micros() as u64
        };
        self.tracks.iter().all(covered)
    }

    /// Whether no stream lost a probe that was sent since then.
    pub fn is_without_loss(&self, since: Instant) -> bool {
        let lost = |track: &Track| track.series.figures(track.at(since)).lost;
        self.tracks.iter().all(|track| lost(track) == 0)
    }

    /// The streams that are not stable, with their losses and who answered.
    pub fn unstable(&self, since: Option<Instant>, fits: &impl Fn(Option<&Identity>) -> bool) -> String {
        let unstable = self.tracks.iter().filter(|track| !track.is_stable(since, fits));
        let lines = unstable.map(|track| {
            let from = since.map_or(0, |since| track.at(since));
            let figures = track.series.figures(from);
            let by_cluster = track.series.by_cluster(from).into_iter();
            let answers: Vec<String> = by_cluster.map(|(c, n)| format!("{n} by {c}")).collect();
            let lost = format!("{}: {} of {} lost", track.stream, figures.lost, figures.sent);
            if answers.is_empty() {
                lost
            } else {
                format!("{lost}, answered {}", answers.join(", "))
            }
        });
        lines.collect::<Vec<_>>().join("; ")
    }

    /// How well times since then are known, in microseconds: the longest time in which a stream sent no probe.
    pub fn resolution(&self, since: Instant) -> u64 {
        let tracks = self.tracks.iter();
        let gaps = tracks.map(|track| track.series.resolution(track.at(since)));
        gaps.max().unwrap_or(0)
    }

    /// Why nothing can be concluded: a control failed, the generator sent nothing for too long, samples were lost or
    /// not sent.
    pub fn unusable(&self, event: &Event) -> Option<Unjudged> {
        self.unusable_except(event, &[])
    }

    /// The same, except for controls that the event is meant to interrupt.
    pub fn unusable_except(&self, event: &Event, interrupted: &[Stream]) -> Option<Unjudged> {
        let resolution = self.resolution(event.called);
        if let Some(track) = self.tracks.first().filter(|_| resolution > COARSEST) {
            return Some(Unjudged::Lagged {
                lag: resolution,
                spacing: Duration::from_micros(track.series.interval()),
            });
        }
        // A machine that schedules nobody for a while loses answers, too: those losses may be its own.
        let lag = self.lag();
        let may_be_its_own = |track: &&Track| {
            let longest = track.figures(event.called).longest;
            // Probes that share a connection queue up meanwhile, and take as long again to catch up.
            let explained = lag * if track.stream.shares_connection() { 2 } else { 1 };
            lag > track.series.interval() && longest.is_some_and(|outage| outage.at_least <= explained)
        };
        if let Some(track) = self.tested().find(may_be_its_own) {
            return Some(Unjudged::Lagged {
                lag,
                spacing: Duration::from_micros(track.series.interval()),
            });
        }
        self.tracks.iter().find_map(|track| {
            let is_control = track.stream.is_control() && track.stream != Stream::OtherName;
            let judged = is_control && !interrupted.contains(&track.stream);
            let why = track.unusable(event, judged)?;
            Some(Verdict::inconclusive(format!("{}: {why}", track.stream)).into())
        })
    }

    /// Who answered a stream last before an instant.
    pub fn server_before(&self, stream: Stream, instant: Instant) -> Option<&Identity> {
        let track = self.track(stream)?;
        track.series.last_server(track.at(instant))
    }
}
