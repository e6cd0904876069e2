//! What the pods of the near cluster see of a Service: who answers them, and until when.

use crate::kit::{observers, probes, wait};
use futures::future::join_all;
use meshproof_contract::{AgentFacts, CheckContext, NodeLabel, Outcome, Tally, Target};
use std::{collections::BTreeMap, time::Duration};

const INTERVAL: Duration = Duration::from_millis(250);

/// What one client saw of the new Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A pod of the other cluster answered.
    There,
    /// Nothing answered.
    Nothing(String),
    /// Something else answered.
    Unexpected(String),
    /// It could not be observed.
    Unknown(String),
}

/// Watches the new Service from every node of the near cluster.
pub struct Watch<'a> {
    /// The check's context.
    pub context: &'a CheckContext,
    /// The clients, one on every node.
    pub clients: &'a [AgentFacts],
    /// The Service's cluster IP in the near cluster.
    pub target: Target,
}

impl Watch<'_> {
    /// What every client of the near cluster sees, by node.
    pub async fn look(&self) -> BTreeMap<String, Seen> {
        let seen = join_all(self.clients.iter().map(|client| async move {
            let probe = probes::http_get_from(self.target.clone());
            let seen = match self.context.environment.probe(&client.id, vec![probe]).await {
                Ok(outcomes) => outcomes.first().map_or_else(
                    || Seen::Unknown("the agent returned no outcome".to_owned()),
                    |outcome| self.judge(outcome),
                ),
                Err(error) => Seen::Unknown(error.to_string()),
            };
            (NodeLabel::from(client).to_string(), seen)
        }))
        .await;
        seen.into_iter().collect()
    }

    pub(super) fn judge(&self, outcome: &Outcome) -> Seen {
        let to = self.context.instance.to();
        match outcome {
            Outcome::Answered {
                served_by: Some(identity),
                ..
            } if outcome.is_success() => {
                if identity.cluster == to.as_str() {
                    Seen::There
                } else {
                    Seen::Unexpected(outcome.to_string())
                }
            }
            Outcome::Answered { .. } | Outcome::Corrupted { .. } => Seen::Unexpected(outcome.to_string()),
            Outcome::LocalError { reason } => Seen::Unknown(format!("the agent could not try: {reason}")),
            Outcome::Timeout { .. }
            | Outcome::Refused { .. }
            | Outcome::Reset { .. }
            | Outcome::Closed { .. }
            | Outcome::Stalled { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Denied { .. } => Seen::Nothing(outcome.to_string()),
            _ => Seen::Unknown(format!(
                "the agent returned an outcome of another kind than it was asked for: {outcome}"
            )),
        }
    }

    /// Waits until every client agrees; an unexpected answer ends it at once, since waiting does not
    /// correct it. The error is what was seen last.
    pub async fn until(&self, wanted: impl Fn(&Seen) -> bool) -> Result<Duration, BTreeMap<String, Seen>> {
        let waited = wait::until(give_up_after(self.context), INTERVAL, || async {
            let seen = self.look().await;
            if seen.values().any(|s| matches!(s, Seen::Unexpected(_))) {
                Ok(Some(seen))
            } else if seen.values().all(&wanted) {
                Ok(None)
            } else {
                Err(seen)
            }
        })
        .await;
        match waited {
            wait::Waited::Seen(after, None) => Ok(after),
            wait::Waited::Seen(_, Some(seen)) | wait::Waited::GaveUp(seen) => Err(seen),
        }
    }
}

/// Time after which a change counts as never seen: three times the threshold.
pub fn give_up_after(context: &CheckContext) -> Duration {
    3 * context.environment.facts().thresholds.propagation
}

/// Reports who has not seen the change, nodes that saw the same together.
pub fn report(
    last: &BTreeMap<String, Seen>,
    expected: &str,
    wanted: impl Fn(&Seen) -> bool,
    context: &CheckContext,
    tally: &mut Tally,
) {
    let mut late: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (node, seen) in last.iter().filter(|(_, seen)| !wanted(seen)) {
        match seen {
            Seen::Unknown(why) => tally.unknown(format!("{node}: {why}")),
            Seen::Nothing(_) => late.entry("no answer".to_owned()).or_default().push(node),
            other => late.entry(describe(other)).or_default().push(node),
        }
        context.note(format!("last seen on {node}: {}", describe(seen)));
    }
    let unable = last.values().filter(|seen| matches!(seen, Seen::Unknown(_))).count();
    if let Some(why) = observers::too_few(unable, last.len()) {
        for what in late.keys() {
            tally.unknown(format!("still {what}, but {why}"));
        }
        return;
    }
    let seen = last.values().filter(|seen| wanted(seen)).count();
    for (what, nodes) in late {
        let from = context.instance.from();
        let subject = if nodes.len() == last.len() && nodes.len() > 1 {
            format!("clients on all {} nodes of {from}", nodes.len())
        } else {
            format!("clients on {}", nodes.join(", "))
        };
        let others = if seen > 0 {
            format!("; {seen} other nodes saw the change")
        } else {
            String::new()
        };
        tally.finding(subject, expected, format!("still {what}{others}"));
    }
}

/// What was seen, for people.
pub fn describe(seen: &Seen) -> String {
    match seen {
        Seen::There => "answered by a pod of the other cluster".to_owned(),
        Seen::Nothing(outcome) => outcome.clone(),
        Seen::Unexpected(outcome) => format!("unexpected answer: {outcome}"),
        Seen::Unknown(why) => format!("unknown: {why}"),
    }
}
