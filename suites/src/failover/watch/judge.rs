//! What a watch comes to: each stream against the thresholds, and each outage with what changed near it.

use super::{
    changes::{Change, Course},
    clock::wall,
    lane::Lane,
    track::Gap,
};
use jiff::{SignedDuration, Timestamp};
use meshproof_contract::{CheckContext, Tally, Unit, thresholds::write_duration};

/// Outages that are told one by one.
const OUTAGES: usize = 60;
/// Changes that are told with an outage.
const CHANGES: usize = 6;
/// Changes that are told for themselves.
const COURSE: usize = 40;
/// Gaps of several streams are one outage if no more time lies between them.
const TOGETHER: SignedDuration = SignedDuration::from_secs(1);
/// So many losses apart from each other are let pass in a watch that is too short for a share.
const STRAY: u64 = 2;
/// A stream must be known until so shortly before the end.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// Gaps of streams that overlap.
struct Outage<'a> {
    from: Timestamp,
    until: Timestamp,
    gaps: Vec<(&'a Lane, &'a Gap)>,
}

/// Judges all streams.
pub fn judge(context: &CheckContext, lanes: &[Lane], course: &Course, tally: &mut Tally) {
    let ended = wall(context);
    for lane in lanes {
        stream(context, lane, course, ended, tally);
    }
    let outages = outages(lanes);
    for outage in outages.iter().take(OUTAGES) {
        context.note(told(outage, course));
    }
    if outages.len() > OUTAGES {
        context.note(format!("{} more outages", outages.len() - OUTAGES));
    }
    for change in course.changes.iter().take(COURSE) {
        context.note(format!("seen: {}", change_told(change)));
    }
    if course.changes.len() > COURSE {
        context.note(format!(
            "{} more changes in the clusters",
            course.changes.len() - COURSE
        ));
    }
}

fn stream(context: &CheckContext, lane: &Lane, course: &Course, ended: Timestamp, tally: &mut Tally) {
    let thresholds = &context.environment.facts().thresholds;
    let (name, track) = (lane.name(), &lane.track);
    for (from, until, why) in &lane.unobserved {
        let length = until.duration_since(*from).as_secs();
        context.note(format!(
            "{name}: not observed from {} for {length} s: {why}",
            clock(*from)
        ));
    }
    if track.sent == 0 {
        let why = lane
            .unobserved
            .last()
            .map_or("no probe was sent", |(_, _, why)| why.as_str());
        tally.unknown(format!("{name}: {why}"));
        return;
    }
    let lost = track.lost as f64 / track.sent as f64;
    context.measure("lost", &name, lost, Unit::Ratio);
    if let Some(latencies) = track.latencies() {
        context.measure_latencies("latency", &name, latencies);
    }
    let longest = track.longest();
    let length = longest.map_or(SignedDuration::ZERO, Gap::length);
    context.measure("longest_outage", &name, length.as_secs_f64() * 1e3, Unit::Milliseconds);
    // Of few probes one or two that are lost apart from each other say nothing of a share.
    let is_rare = thresholds.availability.is_reached(track.sent - track.lost, track.sent)
        || (track.lost <= STRAY && track.gaps.is_empty());
    let is_short = u128::try_from(length.as_millis()).unwrap_or_default() <= thresholds.recovery.as_millis();
    let figures = format!("{} of {} lost", track.lost, track.sent);
    if !is_rare || !is_short {
        let outage = longest
            .map(|gap| format!("; {}", gap_told(gap, course)))
            .unwrap_or_default();
        tally.finding(
            name,
            format!(
                "{} answered, and no outage over {}",
                thresholds.availability,
                write_duration(thresholds.recovery)
            ),
            format!("{figures} ({:.2} % answered){outage}", (1.0 - lost) * 100.0),
        );
        return;
    }
    if track.overwritten > 0 {
        tally.unknown(format!(
            "{name}: outcomes of {} probes were not collected in time",
            track.overwritten
        ));
    }
    match track.known_until {
        Some(until) if until + FRESH >= ended => {
            let longest = match longest {
                Some(gap) => format!(", longest outage {} ms", gap.length().as_millis()),
                None => String::new(),
            };
            let own = match track.own {
                0 => String::new(),
                own => format!("; {own} more while the client was not scheduled"),
            };
            tally.witness(format!("{name}: {figures}{longest}{own}"));
        }
        until => {
            let until = until.map_or_else(|| "the beginning".to_owned(), clock);
            tally.unknown(format!("{name}: not observed after {until}"));
        }
    }
}

fn outages(lanes: &[Lane]) -> Vec<Outage<'_>> {
    let gaps = lanes
        .iter()
        .flat_map(|lane| lane.track.gaps.iter().map(move |gap| (lane, gap)));
    let mut gaps: Vec<_> = gaps.collect();
    gaps.sort_by_key(|(_, gap)| gap.from);
    let mut outages: Vec<Outage<'_>> = Vec::new();
    for (lane, gap) in gaps {
        let until = gap.from + gap.length();
        match outages.last_mut() {
            Some(last) if gap.from <= last.until + TOGETHER => {
                last.until = last.until.max(until);
                last.gaps.push((lane, gap));
            }
            _ => outages.push(Outage {
                from: gap.from,
                until,
                gaps: vec![(lane, gap)],
            }),
        }
    }
    outages
}

fn told(outage: &Outage<'_>, course: &Course) -> String {
    let length = outage.until.duration_since(outage.from).as_millis();
    let lost: u64 = outage.gaps.iter().map(|(_, gap)| gap.losses).sum();
    let mut names: Vec<String> = outage.gaps.iter().map(|(lane, _)| lane.name()).collect();
    names.dedup();
    let more = names.len().saturating_sub(3);
    names.truncate(3);
    let more = if more > 0 {
        format!(" and {more} more streams")
    } else {
        String::new()
    };
    format!(
        "outage at {} for {length} ms, {lost} probes lost: {}{more}; {}",
        clock(outage.from),
        names.join("; "),
        causes(course, outage.from, outage.until)
    )
}

fn gap_told(gap: &Gap, course: &Course) -> String {
    format!(
        "longest outage at {} for {} ms, first: {}; {}",
        clock(gap.from),
        gap.length().as_millis(),
        gap.why,
        causes(course, gap.from, gap.from + gap.length())
    )
}

fn causes(course: &Course, from: Timestamp, until: Timestamp) -> String {
    let near: Vec<&Change> = course.near(from, until).collect();
    if near.is_empty() {
        return "nothing was seen to change near it".to_owned();
    }
    let shown: Vec<String> = near.iter().take(CHANGES).map(|change| change_told(change)).collect();
    let more = near.len().saturating_sub(CHANGES);
    let more = if more > 0 {
        format!(", and {more} more changes")
    } else {
        String::new()
    };
    format!("near it: {}{more}", shown.join(", "))
}

fn change_told(change: &Change) -> String {
    let (after, by) = (clock(change.after), clock(change.by));
    format!("{} {} ({after} to {by})", change.cluster, change.what)
}

/// The time of day, in UTC.
fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}
