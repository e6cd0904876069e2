//! What the stream to one node says about the policy's time there.

use super::{
    stream::NodeStream,
    timeline::{Change, HELD},
};
use crate::{
    kit::{cpu_pressure, next_steps},
    policy::enforced_within,
};
use meshproof_contract::{
    CheckContext, Evidence, NodeLabel, Tally, Unit,
    evidence::{Cell, CellOutcome, Row},
};
use std::{collections::BTreeMap, time::Duration};

/// Why the stream's times prove nothing, if the machine was too busy.
pub fn too_busy(stream: &NodeStream) -> Option<String> {
    let (node, lag) = (&stream.to.agent.node, stream.timeline.lag());
    if lag > cpu_pressure::LAG {
        return Some(format!(
            "node {node}: the stream's generator lagged {} ms behind its schedule, so its times prove nothing",
            lag / 1000
        ));
    }
    let not_sent = stream.timeline.not_sent();
    let reason = not_sent.first()?;
    Some(format!(
        "node {node}: the agent could not open {} connections: {reason}",
        not_sent.len()
    ))
}

/// Leaves a row for each node from which connections were opened: how long the nodes of the subject pods took to
/// enforce the policy.
pub fn leave_rows(context: &CheckContext, streams: &[NodeStream]) {
    let mut rows: BTreeMap<NodeLabel, Vec<Cell>> = BTreeMap::new();
    for stream in streams {
        let row = rows.entry(NodeLabel::from(&stream.from.agent)).or_default();
        row.push(cell(stream));
    }
    for (from, cells) in rows {
        context.evidence(Evidence::Row(Row {
            what: "policy enforcement".to_owned(),
            from,
            cells,
        }));
    }
}

fn cell(stream: &NodeStream) -> Cell {
    let timeline = &stream.timeline;
    let closed = timeline.closed().filter(|_| timeline.holds(Change::Applied, HELD));
    let opens = timeline.holds(Change::Deleted, HELD);
    let (outcome, detail) = match (too_busy(stream), &closed) {
        (Some(why), _) => (CellOutcome::Unknown, Some(why)),
        (None, Some(_)) if opens => (CellOutcome::Ok, None),
        (None, Some(_)) => (CellOutcome::NoAnswer, Some(timeline.summary(Change::Deleted))),
        (None, None) => (CellOutcome::Mismatch, Some(timeline.summary(Change::Applied))),
    };
    Cell {
        to: NodeLabel::from(&stream.to.agent),
        outcome,
        value: closed.as_ref().map(|closed| closed.after as f64),
        unit: closed.as_ref().map(|_| Unit::Microseconds),
        detail,
    }
}

/// Judges a stream of the given attempt.
pub fn judge(context: &CheckContext, stream: &NodeStream, attempt: usize, tally: &mut Tally) {
    let node = format!("node {}", stream.to.agent.node);
    if let Some(why) = too_busy(stream) {
        tally.unknown(why);
    }
    if stream.timeline.lag() > cpu_pressure::LAG {
        return;
    }
    if !stream.timeline.holds(Change::Before, HELD) {
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
    let timeline = &stream.timeline;
    let closed = timeline.closed().filter(|_| timeline.holds(Change::Applied, HELD));
    let Some(closed) = closed else {
        return tally.finding(
            node,
            format!(
                "no new connection established later than {} s after the policy was applied",
                enforced_within(context).as_secs()
            ),
            format!("still established at the end; {}", timeline.summary(Change::Applied)),
        );
    };
    measure(context, "enforced_after", stream, closed.after);
    context.measure(
        "half_enforced_connections",
        stream.to.agent.node.to_string(),
        closed.half as f64,
        Unit::Count,
    );
    if let Some(other) = closed.other {
        tally.finding(node, "connections silently dropped (timeout)", other);
    }
    let mut text = format!("{node}: enforced after {} ms", millis(closed.after));
    if closed.half > 0 {
        text.push_str(&format!(
            "; {} connections still established after the first drop",
            closed.half
        ));
    }
    tally.witness(text);
}

fn judge_deletion(context: &CheckContext, stream: &NodeStream, node: &str, tally: &mut Tally) {
    let timeline = &stream.timeline;
    let opened = timeline.opened().filter(|_| timeline.holds(Change::Deleted, HELD));
    match opened {
        Some(after) => {
            measure(context, "open_after", stream, after);
            tally.witness(format!(
                "{node}: open again {} ms after the policy's deletion",
                millis(after)
            ));
        }
        None => tally.finding(
            node,
            open_again_within(context),
            format!("still dropped at the end; {}", timeline.summary(Change::Deleted)),
        ),
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
