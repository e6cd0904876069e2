//! What one look at the API shows, and when it counts: what is wrong is read again, since objects change while
//! somebody rolls out, and only what is still wrong is a finding.

use crate::kit::{next_steps, recent::Age};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, ClusterName, EnvironmentError, Tally, Verdict, text};
use std::time::Duration;

/// What is wrong is read again after so long.
pub const AGAIN: Duration = Duration::from_secs(10);
/// So many things that are wrong are findings of their own.
const FINDINGS: usize = 20;
/// So many commands are suggested.
const SUGGESTED: usize = 3;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The object that it is about.
    pub subject: String,
    /// What should be.
    pub expected: String,
    /// What is.
    pub observed: String,
    /// Arguments of kubectl that show it.
    pub command: String,
}

/// What one look showed.
#[derive(Debug, Default)]
pub struct Seen {
    deviations: Vec<Deviation>,
    witnesses: Vec<String>,
    unknown: Vec<String>,
    notes: Vec<String>,
}

impl Seen {
    /// Something is as it should be.
    pub fn witness(&mut self, what: impl Into<String>) {
        self.witnesses.push(what.into());
    }
    /// Something is not.
    pub fn deviates(
        &mut self,
        subject: impl Into<String>,
        expected: impl Into<String>,
        observed: impl Into<String>,
        command: impl Into<String>,
    ) {
        self.deviations.push(Deviation {
            subject: subject.into(),
            expected: expected.into(),
            observed: observed.into(),
            command: command.into(),
        });
    }
    /// Something could not be read.
    pub fn unknown(&mut self, why: impl Into<String>) {
        self.unknown.push(why.into());
    }
    /// Something to know that decides nothing.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
    /// What was read; else it goes to what is unknown.
    pub fn read<T>(&mut self, what: &str, cluster: &ClusterName, read: Result<T, EnvironmentError>) -> Option<T> {
        read.map_err(|error| self.unknown(format!("the {what} of {cluster} cannot be read: {error}")))
            .ok()
    }
}

/// A check that looks at the API.
#[async_trait]
pub trait Look: Sync {
    /// Looks, at what was read not too long ago or at what is there now.
    async fn look(&self, context: &CheckContext, age: Age) -> Seen;
}

/// Looks, and once more where something is wrong; concludes from what both looks showed.
pub async fn conclude(context: &CheckContext, check: &dyn Look) -> Verdict {
    let mut seen = check.look(context, Age::STATE).await;
    if !seen.deviations.is_empty() {
        tokio::time::sleep(AGAIN).await;
        let before = std::mem::replace(&mut seen, check.look(context, Age::now()).await).deviations;
        let was = |now: &Deviation| {
            before
                .iter()
                .any(|one| one.subject == now.subject && one.expected == now.expected)
        };
        let settled = before.len();
        seen.deviations.retain(was);
        if let Some(settled) = settled
            .checked_sub(seen.deviations.len())
            .filter(|settled| *settled > 0)
        {
            seen.note(format!(
                "left out {}: as it should be when read again {} s later",
                text::counted(settled, "difference"),
                AGAIN.as_secs()
            ));
        }
    }
    report(context, seen)
}

/// Concludes from one look.
pub fn report(context: &CheckContext, seen: Seen) -> Verdict {
    let facts = context.environment.facts();
    let cluster = context.instance.from();
    let mut tally = Tally::new();
    for note in seen.notes {
        context.note(note);
    }
    let mut suggested: Vec<&str> = Vec::new();
    for one in seen.deviations.iter().take(FINDINGS) {
        tally.finding(&one.subject, &one.expected, &one.observed);
        if suggested.len() < SUGGESTED && !suggested.contains(&one.command.as_str()) {
            suggested.push(&one.command);
            context.suggest(next_steps::kubectl(&facts, cluster, &one.command));
        }
    }
    if let Some(more) = seen.deviations.len().checked_sub(FINDINGS).filter(|more| *more > 0) {
        let observed = format!("{} more", text::counted(more, "difference"));
        tally.finding(cluster.to_string(), "all objects as they should be", observed);
    }
    for witness in seen.witnesses {
        tally.witness(witness);
    }
    for why in seen.unknown {
        tally.unknown(why);
    }
    tally.verdict()
}
