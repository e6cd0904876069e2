//! What the stream to one node says about the policy's time there.

use super::{
    stream::NodeStream,
    timeline::{Between, Change},
};
use crate::{kit::next_steps, policy::enforced_within};
use meshproof_contract::{
    CheckContext, Evidence, NodeLabel, Tally, Unit,
    evidence::{Cell, CellOutcome, Row},
};
use std::{collections::BTreeMap, time::Duration};

/// What a stream says of a change.
enum Time {
    /// It took effect so long after the call, in time.
    Within(Between),
    /// It did not in time.
    Late(String),
    /// Connections were too far apart to tell.
    Unknown(String),
}

/// Why another measurement, with connections further apart, would tell more than this one.
pub fn undecided(context: &CheckContext, stream: &NodeStream) -> Option<String> {
    let timeline = &stream.timeline;
    if !timeline.holds(Change::Before, timeline.held()) {
        return None;
    }
    let times = [Change::Applied, Change::Deleted].map(|change| time(context, stream, change));
    times.into_iter().find_map(|time| match time {
        Time::Unknown(why) => Some(format!("node {}: {why}", stream.to.agent.node)),
        Time::Within(_) | Time::Late(_) => None,
    })
}

/// When the change took effect, judged against the limit: red only if that was certainly later, green only if it was
/// certainly not.
fn time(context: &CheckContext, stream: &NodeStream, change: Change) -> Time {
    let (timeline, limit) = (&stream.timeline, enforced_within(context).as_micros() as u64);
    let seen = match change {
        Change::Applied => timeline.closed().map(|closed| closed.after),
        _ => timeline.opened(),
    };
    let seen = seen.filter(|_| timeline.holds(change, timeline.held()));
    let summary = timeline.summary(change);
    let last = match change {
        Change::Applied => "the last connection established",
        _ => "the last connection dropped",
    };
    match (seen, timeline.last_against(change)) {
        (Some(after), _) if after.at_most <= limit => Time::Within(after),
        (_, Some(against)) if against > limit => {
            Time::Late(format!("{last} {} ms after the call; {summary}", millis(against)))
        }
        (Some(after), _) => Time::Unknown(format!(
            "it took {} to {} ms, and no connection was opened between: {}",
            millis(after.at_least),
            millis(after.at_most),
            busy(stream)
        )),
        (None, _) => Time::Unknown(format!("too few connections to tell ({summary}): {}", busy(stream))),
    }
}

/// How late the generator of a stream was, for people.
fn busy(stream: &NodeStream) -> String {
    let (lag, not_sent) = (stream.timeline.lag(), stream.timeline.not_sent());
    let missing = match not_sent.first() {
        Some(reason) => format!(", and {} connections could not be opened ({reason})", not_sent.len()),
        None => String::new(),
    };
    format!("the agent opened connections up to {} ms late{missing}", lag / 1000)
}

/// Leaves a row for each node from which connections were opened: how long the nodes of the subject pods took to
/// enforce the policy.
pub fn leave_rows(context: &CheckContext, streams: &[NodeStream]) {
    let mut rows: BTreeMap<NodeLabel, Vec<Cell>> = BTreeMap::new();
    for stream in streams {
        let row = rows.entry(NodeLabel::from(&stream.from.agent)).or_default();
        row.push(cell(context, stream));
    }
    for (from, cells) in rows {
        context.evidence(Evidence::Row(Row {
            what: "policy enforcement".to_owned(),
            from,
            cells,
        }));
    }
}

fn cell(context: &CheckContext, stream: &NodeStream) -> Cell {
    let times = (
        time(context, stream, Change::Applied),
        time(context, stream, Change::Deleted),
    );
    let (outcome, value, detail) = match times {
        (Time::Late(seen), _) => (CellOutcome::Mismatch, None, Some(seen)),
        (Time::Unknown(why), _) => (CellOutcome::Unknown, None, Some(why)),
        (Time::Within(after), Time::Within(_)) => (CellOutcome::Ok, Some(after), None),
        (Time::Within(after), Time::Late(seen)) => (CellOutcome::NoAnswer, Some(after), Some(seen)),
        (Time::Within(after), Time::Unknown(why)) => (CellOutcome::Unknown, Some(after), Some(why)),
    };
    Cell {
        to: NodeLabel::from(&stream.to.agent),
        outcome,
        value: value.map(|after| after.at_most as f64),
        unit: value.map(|_| Unit::Microseconds),
        detail,
    }
}

/// Judges a stream of the given attempt.
pub fn judge(context: &CheckContext, stream: &NodeStream, attempt: usize, tally: &mut Tally) {
    let node = format!("node {}", stream.to.agent.node);
    if !stream.timeline.holds(Change::Before, stream.timeline.held()) {
        return judge_closed_before(context, stream, &node, attempt, tally);
    }
    let mut own = Tally::new();
    judge_application(context, stream, &node, &mut own);
    judge_deletion(context, stream, &node, &mut own);
    if own.has_findings() {
        suggest_commands(context, stream);
    }
    tally.absorb(own);
}

/// Connections were established when the check began. In a later attempt they are still dropped only if the policy of
/// the one before, which was deleted, is still enforced.
fn judge_closed_before(context: &CheckContext, stream: &NodeStream, node: &str, attempt: usize, tally: &mut Tally) {
    if attempt == 1 {
        return tally.unknown(format!("{node}: no connection was established before the policy"));
    }
    let seen = stream.timeline.summary(Change::Before);
    tally.finding(
        node,
        open_again_within(context),
        format!("still dropped when the measurement was repeated; {seen}"),
    );
    suggest_commands(context, stream);
}

fn judge_application(context: &CheckContext, stream: &NodeStream, node: &str, tally: &mut Tally) {
    let after = match time(context, stream, Change::Applied) {
        Time::Within(after) => after,
        Time::Unknown(why) => return tally.unknown(format!("{node}: {why}")),
        Time::Late(seen) => {
            return tally.finding(
                node,
                format!(
                    "no new connection established later than {} s after the policy was applied",
                    enforced_within(context).as_secs()
                ),
                seen,
            );
        }
    };
    measure(context, "enforced_after", stream, after.at_most);
    measure(context, "resolution", stream, after.at_most - after.at_least);
    let Some(closed) = stream.timeline.closed() else {
        return;
    };
    context.measure(
        "half_enforced_connections",
        stream.to.agent.node.to_string(),
        closed.half as f64,
        Unit::Count,
    );
    if let Some(other) = closed.other {
        tally.finding(node, "connections silently dropped (timeout)", other);
    }
    let mut text = format!(
        "{node}: enforced after {} to {} ms",
        millis(after.at_least),
        millis(after.at_most)
    );
    if closed.half > 0 {
        text.push_str(&format!(
            "; {} connections still established after the first drop",
            closed.half
        ));
    }
    tally.witness(text);
}

fn judge_deletion(context: &CheckContext, stream: &NodeStream, node: &str, tally: &mut Tally) {
    match time(context, stream, Change::Deleted) {
        Time::Within(after) => {
            measure(context, "open_after", stream, after.at_most);
            tally.witness(format!(
                "{node}: open again {} to {} ms after the policy's deletion",
                millis(after.at_least),
                millis(after.at_most)
            ));
        }
        Time::Unknown(why) => tally.unknown(format!("{node}: {why}")),
        Time::Late(seen) => tally.finding(node, open_again_within(context), seen),
    }
}

fn open_again_within(context: &CheckContext) -> String {
    format!(
        "new connections established again within {} s of the policy's deletion",
        enforced_within(context).as_secs()
    )
}

fn suggest_commands(context: &CheckContext, stream: &NodeStream) {
    let (facts, agent) = (context.environment.facts(), &stream.to.agent);
    let endpoints = next_steps::in_agent(&facts, &agent.id.cluster, Some(&agent.node), "cilium-dbg endpoint list");
    context.suggest(endpoints);
}

fn millis(micros: u64) -> u128 {
    Duration::from_micros(micros).as_millis()
}

fn measure(context: &CheckContext, name: &str, stream: &NodeStream, micros: u64) {
    let node = stream.to.agent.node.to_string();
    context.measure(name, node, micros as f64 / 1000.0, Unit::Milliseconds);
}
