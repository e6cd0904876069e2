//! The figures that streams leave in the report.

use super::{Observed, track::ms};
use crate::failover::{event::Event, series::Series, stream::Stream};
use meshproof_contract::{CheckContext, Unit};
use std::time::{Duration, Instant};

impl Observed {
    /// Leaves every figure.
    pub fn report(&self, context: &CheckContext, event: &Event) {
        context.note(format!(
            "each stream sent one probe every {}; generator lag up to {:.1} ms, so times are known to {}; the event \
             took {} ms to inject",
            ms(self.tracks.first().map_or(0, |track| track.series.interval())),
            self.lag() as f64 / 1000.0,
            ms(self.resolution(event.called)),
            (event.returned - event.called).as_millis()
        ));
        for track in &self.tracks {
            let (subject, figures) = (track.stream.to_string(), track.figures(event.called));
            context.note(format!("{subject}: {}", track.summary(event.called)));
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
        let resolution = self.resolution(event.called) as f64 / 1000.0;
        context.measure("resolution", "", resolution, Unit::Milliseconds);
        context.measure("generator_lag", "", self.lag() as f64 / 1000.0, Unit::Milliseconds);
    }

    /// Leaves a time since an instant, for each tested stream that has one, and returns these times.
    pub fn report_time(
        &self,
        context: &CheckContext,
        name: &str,
        since: Instant,
        of: impl Fn(&Series, u64) -> Option<u64>,
    ) -> Vec<(Stream, Duration)> {
        let mut times = Vec::new();
        for track in self.tested().filter(|track| track.stream.reports_server()) {
            if let Some(at) = of(&track.series, track.at(since)) {
                let after = track.after(since, at);
                let millis = after.as_secs_f64() * 1000.0;
                context.measure(name, track.stream.to_string(), millis, Unit::Milliseconds);
                times.push((track.stream, after));
            }
        }
        times
    }
}
