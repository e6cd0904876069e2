//! What streams may lose.

use super::{Observed, Track};
use crate::failover::{
    event::Event,
    retry_when_busy::{StoodStill, Unjudged},
    stream::Stream,
};
use meshproof_contract::{Tally, Thresholds};
use std::time::Duration;

/// TCP repeats a lost packet after 200 ms at the earliest, and its repetition 400 ms later: with both lost a connection
/// stands still for less than this, in microseconds.
const REPEATED_WITHIN: u64 = 700_000;

impl Observed {
    /// Judges that these streams lose nothing that was due later than `limit` after the event.
    pub fn judge_recovery(&self, tally: &mut Tally, streams: &[Stream], event: &Event, limit: Duration) {
        for track in self.tested().filter(|track| streams.contains(&track.stream)) {
            let summary = track.summary(event.called);
            let Some(last) = track.series.last_loss(track.at(event.called)) else {
                tally.witness(format!("{}: {summary}", track.stream));
                continue;
            };
            let after = track.after(event.returned, last);
            let answered = track.series.answered_after(last);
            let until = answered.map(|sent| track.after(event.returned, sent));
            if let Some(until) = until.filter(|until| after <= limit && *until > limit) {
                tally.unknown(format!(
                    "{}: it ended {} to {} ms after the event, which does not tell whether the limit of {} ms is kept: \
                     {summary}",
                    track.stream,
                    after.as_millis(),
                    until.as_millis(),
                    limit.as_millis()
                ));
            } else if after > limit {
                tally.finding(
                    track.stream.to_string(),
                    format!("no loss later than {} ms after the event", limit.as_millis()),
                    format!("last loss {} ms after it: {summary}", after.as_millis()),
                );
            } else {
                tally.witness(format!(
                    "{}: {summary}; last loss {} ms after the event",
                    track.stream,
                    after.as_millis()
                ));
            }
        }
    }

    /// Why losses of the DNS stream prove nothing about its name: cluster DNS did not answer for an unaffected name,
    /// either.
    fn dns_outage(&self, event: &Event) -> Option<String> {
        let control = self.track(Stream::OtherName)?;
        let longest = control.figures(event.called).longest?;
        control.is_failed_control(longest.losses).then(|| {
            format!(
                "{}: cluster DNS did not answer queries for an unaffected name, either: {}",
                control.stream,
                control.summary(event.called)
            )
        })
    }

    /// Whether the stream stood still for as long as TCP takes to repeat a packet, while probes that do not share its
    /// connection were all answered: one lost packet does that, with or without an event.
    fn stood_still(&self, track: &Track, event: &Event) -> bool {
        let from = track.at(event.called);
        // What has queued up meanwhile may fall into two outages.
        let figures = track.figures(event.called);
        let mut fresh = self.tracks.iter().filter(|other| other.stream.is_fresh());
        track.stream.shares_connection()
            && figures.lost > 0
            && figures.first_to_last < REPEATED_WITHIN
            && track.series.lost_only_by_waiting(from)
            && fresh.all(|other| other.figures(event.called).lost == 0)
    }

    /// Judges that these streams do not notice: the promised availability, or a single loss where that is few probes,
    /// and never two losses in a row. Unjudged where all that was seen is a connection that stood still once.
    pub fn judge_unnoticed(
        &self,
        tally: &mut Tally,
        streams: &[Stream],
        event: &Event,
        promised: &Thresholds,
    ) -> Result<(), Unjudged> {
        let mut still = None;
        for track in self.tested().filter(|track| streams.contains(&track.stream)) {
            let figures = track.figures(event.called);
            let summary = track.summary(event.called);
            let is_enough = promised
                .availability
                .is_reached(figures.sent - figures.lost, figures.sent);
            let in_a_row = figures.longest.map_or(0, |outage| outage.losses);
            if in_a_row <= 1 && (figures.lost <= 1 || is_enough) {
                tally.witness(format!("{}: {summary}", track.stream));
                continue;
            }
            if self.stood_still(track, event) {
                still = Some(StoodStill {
                    stream: track.stream,
                    summary,
                });
                continue;
            }
            let excuse = match track.stream {
                Stream::Dns => self.dns_outage(event),
                _ => None,
            };
            match excuse {
                Some(why) => tally.unknown(format!("{}: {summary}; {why}", track.stream)),
                None => tally.finding(
                    track.stream.to_string(),
                    format!(
                        "unaffected: at least {} of the requests succeed, and no two in a row fail",
                        promised.availability
                    ),
                    summary,
                ),
            }
        }
        match still {
            Some(still) if !tally.has_findings() => Err(Unjudged::StoodStill(still)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::{observed::Track, series::Series};
    use meshproof_contract::{ClockReading, Outcome, StreamReport, StreamResult, StreamSample, Timing};
    use std::ops::Range;

    const MS: u64 = 1000;

    /// A stream of 200 probes since the event, of which these were lost.
    fn track(stream: Stream, event: &Event, lost: Range<u64>) -> Track {
        let clock = ClockReading {
            at: event.called,
            micros: 0,
            error: Duration::ZERO,
        };
        let result = |number| {
            if lost.contains(&number) {
                StreamResult::Bad {
                    outcome: Outcome::Timeout {
                        timing: Timing::default(),
                    },
                }
            } else {
                StreamResult::Good {
                    server: None,
                    latency: 300,
                }
            }
        };
        let mut series = Series::default();
        series.add(StreamReport {
            start: 0,
            interval: 10 * MS,
            samples: (0..200)
                .map(|number| StreamSample {
                    number,
                    late: 0,
                    result: result(number),
                })
                .collect(),
            servers: Vec::new(),
            under_way: 0,
            overwritten: 0,
            lag: 0,
            connections: 0,
            ended: true,
        });
        Track { stream, clock, series }
    }

    #[test]
    fn a_burst_is_found_however_many_requests_succeed() {
        let event = Event::begin();
        let promised = Thresholds {
            availability: "90%".parse().expect("a percentage"),
            ..Thresholds::default()
        };
        let word = |lost| {
            let mut tally = Tally::new();
            let tracks = vec![track(Stream::Udp, &event, lost)];
            let judged = Observed { tracks }.judge_unnoticed(&mut tally, &[Stream::Udp], &event, &promised);
            assert!(judged.is_ok());
            tally.verdict().word()
        };
        assert_eq!(word(50..51), "pass");
        assert_eq!(word(50..52), "fail", "99 % succeed, and two in a row fail");
    }

    fn judged(tracks: Vec<Track>, streams: &[Stream], event: &Event) -> &'static str {
        let mut tally = Tally::new();
        let judged = Observed { tracks }.judge_unnoticed(&mut tally, streams, event, &Thresholds::default());
        judged.map_or("unjudged", |()| tally.verdict().word())
    }

    #[test]
    fn a_connection_that_stood_still_once_is_looked_at_again() {
        let event = Event::begin();
        let word = |stream, lost, fresh| {
            let tracks = vec![track(stream, &event, lost), track(Stream::NewTcp, &event, fresh)];
            judged(tracks, &[stream], &event)
        };
        assert_eq!(word(Stream::KeepAlive, 50..85, 0..0), "unjudged");
        assert_eq!(word(Stream::KeepAlive, 50..85, 50..51), "fail", "others lost, too");
        assert_eq!(
            word(Stream::KeepAlive, 50..130, 0..0),
            "fail",
            "too long for one packet"
        );
        assert_eq!(word(Stream::Udp, 50..85, 0..0), "fail", "no connection");
    }

    #[test]
    fn lost_answers_of_dns_are_excused_by_a_control_that_dns_did_not_answer_either() {
        let event = Event::begin();
        let pair = |lost, control| {
            vec![
                track(Stream::Dns, &event, lost),
                track(Stream::OtherName, &event, control),
            ]
        };
        let word = |lost, control| judged(pair(lost, control), &[Stream::Dns], &event);
        assert_eq!(word(0..0, 0..0), "pass");
        assert_eq!(word(50..62, 0..0), "fail");
        assert_eq!(word(50..62, 51..53), "fail", "a control may lose two");
        assert_eq!(word(50..62, 50..60), "inconclusive");
        assert_eq!(word(0..0, 50..60), "pass");
    }

    #[test]
    fn losses_that_the_generators_own_stall_explains_are_not_judged() {
        let event = Event::begin();
        let is_judged_of = |stream, lost: Range<u64>, lag: u64| {
            let mut track = track(stream, &event, lost);
            track.series.lag = lag;
            Observed { tracks: vec![track] }.unusable(&event).is_none()
        };
        let is_judged = |lost, lag| is_judged_of(Stream::Udp, lost, lag);
        assert!(
            !is_judged_of(Stream::KeepAlive, 50..75, 130 * MS),
            "240 ms, with the queue after it"
        );
        assert!(is_judged_of(Stream::KeepAlive, 50..80, 130 * MS), "290 ms");
        assert!(is_judged(0..0, 130 * MS), "nothing lost");
        assert!(is_judged(50..80, 130 * MS), "an outage of 290 ms");
        assert!(is_judged(50..60, 5 * MS), "no stall");
        assert!(!is_judged(50..60, 130 * MS), "an outage of 90 ms in a stall of 130 ms");
    }

    #[test]
    fn dns_excuses_no_other_stream() {
        let event = Event::begin();
        let tracks = vec![
            track(Stream::Udp, &event, 50..62),
            track(Stream::OtherName, &event, 50..62),
        ];
        assert_eq!(judged(tracks, &[Stream::Udp], &event), "fail");
    }
}
