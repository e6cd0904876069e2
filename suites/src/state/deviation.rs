//! Differences between what agents have and what the API says, and when one counts: each is read again after the time
//! that a change may take, by name, with the same object behind it.

use super::look::{Look, NODES, allowance};
use crate::kit::{known_fault::KnownFault, next_steps};
use meshproof_contract::{CheckContext, ClusterName, NodeName, Tally, Verdict, text};
use std::collections::BTreeMap;

/// For so many kinds of difference a command is suggested; others are likely of the same kind.
const SUGGESTED: usize = 3;
/// So many differences are findings of their own; what cuts a cluster off makes hundreds of the same kind.
const FINDINGS: usize = 20;

/// How often a difference must be read before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counts {
    /// Something is missing or other than an object says that was the same both times.
    Twice,
    /// Something is kept of which there is no object: one that came and went between two looks may leave it behind for
    /// a moment, so three.
    Thrice,
}

/// What identifies a difference: it counts only if the next look shows the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What it is about.
    pub subject: String,
    /// What the API says.
    pub expected: String,
    /// What is seen instead.
    pub observed: String,
    /// What changes when the objects behind it change.
    pub version: String,
    /// How often it must be read.
    pub counts: Counts,
}

/// Where a difference was seen, and how to see it.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The nodes whose agents have it; none for what is wrong in the API itself.
    pub nodes: Vec<NodeName>,
    /// The command that shows it: in the agent, or of kubectl where no node has it.
    pub command: &'static str,
    /// A fault of Cilium that it fits.
    pub known: Option<&'static KnownFault>,
}

/// What one look showed of one kind of state.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many facts were compared.
    pub compared: usize,
    /// What they are, in the plural: `addresses of pods in agents`.
    pub what: &'static str,
    /// What differed.
    pub differences: BTreeMap<Difference, Sight>,
    /// What was not compared, by why, with how many there are.
    pub left_out: BTreeMap<&'static str, usize>,
}

impl Seen {
    /// Nothing yet.
    pub fn of(what: &'static str) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }
    /// Adds a difference that one agent has.
    pub fn on(&mut self, node: &NodeName, command: &'static str, difference: Difference) -> &mut Sight {
        let sight = self.differences.entry(difference).or_default();
        sight.command = command;
        if !sight.nodes.contains(node) {
            sight.nodes.push(node.clone());
        }
        sight
    }
    /// Adds a difference within the API.
    pub fn in_api(&mut self, command: &'static str, difference: Difference) {
        self.differences.entry(difference).or_default().command = command;
    }
    /// Counts something that is not compared.
    pub fn leave_out(&mut self, why: &'static str) {
        *self.left_out.entry(why).or_default() += 1;
    }
}

/// Looks until nothing differs, or what differs has been seen often enough, and concludes.
pub async fn conclude(context: &CheckContext, compare: impl Fn(&Look, &mut Tally) -> Seen) -> Verdict {
    let look = async |number: usize| {
        let mut tally = Tally::new();
        let look = Look::take(context, number).await;
        (compare(&look, &mut tally), tally)
    };
    let (mut seen, mut tally) = look(0).await;
    let mut lasting = std::mem::take(&mut seen.differences);
    let (mut settled, mut looks) = (0, 1);
    let mut counted = BTreeMap::new();
    for number in 1..=2 {
        if lasting.is_empty() {
            break;
        }
        (seen, tally) = look(number).await;
        looks += 1;
        let before = lasting.len();
        lasting.retain(|difference, _| seen.differences.contains_key(difference));
        settled += before - lasting.len();
        let is_due = |difference: &Difference| number == 2 || difference.counts == Counts::Twice;
        let (due, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = lasting.into_iter().partition(|(one, _)| is_due(one));
        counted.extend(due.into_iter().map(|(one, before)| {
            let now = seen.differences.remove(&one);
            (one, now.unwrap_or(before))
        }));
        lasting = rest;
    }
    tell(context, &seen, looks, settled);
    report(context, &counted, &mut tally);
    if seen.compared > 0 {
        tally.witness(format!("{} {} are as the API says", seen.compared, seen.what));
    }
    tally.verdict()
}

/// Leaves what was looked at as evidence: the cover, and what was left out.
fn tell(context: &CheckContext, seen: &Seen, looks: usize, settled: usize) {
    let facts = context.environment.facts();
    let cluster = context.instance.from();
    context.note(format!(
        "compared {} {} in {}",
        seen.compared,
        seen.what,
        text::counted(looks, "look")
    ));
    let nodes = facts.cluster(cluster).map_or(0, |found| found.nodes.len());
    if nodes > NODES {
        let seed = facts.generation.sample_seed;
        context.note(format!("asked {NODES} of {nodes} nodes; --sample-seed {seed}"));
    }
    if settled > 0 {
        context.note(format!(
            "left out {}: gone, or their objects changed, when read again {} s later",
            text::counted(settled, "difference"),
            allowance(context).as_secs()
        ));
    }
    for (why, number) in &seen.left_out {
        context.note(format!("left out {number}: {why}"));
    }
}

fn report(context: &CheckContext, counted: &BTreeMap<Difference, Sight>, tally: &mut Tally) {
    let facts = context.environment.facts();
    let cluster = context.instance.from();
    let (mut suggested, mut told): (Vec<&str>, Vec<&KnownFault>) = (Vec::new(), Vec::new());
    for (difference, sight) in counted.iter().take(FINDINGS) {
        let subject = match sight.nodes.as_slice() {
            [] => difference.subject.clone(),
            nodes => format!("{}, {}", difference.subject, named(&facts, cluster, nodes)),
        };
        tally.finding(subject, &difference.expected, &difference.observed);
        if let Some(known) = sight.known.filter(|known| !told.contains(known)) {
            known.tell(context, cluster);
            told.push(known);
        }
        if suggested.len() < SUGGESTED && !suggested.contains(&sight.command) {
            suggested.push(sight.command);
            context.suggest(match sight.nodes.first() {
                Some(node) => next_steps::in_agent(&facts, cluster, Some(node), sight.command),
                None => next_steps::kubectl(&facts, cluster, sight.command),
            });
        }
    }
    if let Some(more) = counted.len().checked_sub(FINDINGS).filter(|more| *more > 0) {
        let observed = format!(
            "{} more; the commands show all of them",
            text::counted(more, "difference")
        );
        tally.finding(cluster.to_string(), "what the API says", observed);
    }
}

/// Who has it: the nodes, or all agents.
fn named(facts: &meshproof_contract::Facts, cluster: &ClusterName, nodes: &[NodeName]) -> String {
    let all = facts.cluster(cluster).map_or(0, |found| found.nodes.len());
    if nodes.len() == all && all > 1 {
        return format!("all {all} agents of {cluster}");
    }
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    match names.as_slice() {
        [one] => format!("agent on {one}"),
        several => format!("agents on {}", several.join(", ")),
    }
}
