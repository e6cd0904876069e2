//! Answers of many clients judged against who must and who may answer, told in as few findings as say where it is wrong.

use super::ask::{Answers, is_pod};
use super::side::Side;
use crate::kit::next_steps;
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, Tally};
use std::collections::{BTreeMap, BTreeSet};

/// Who must answer every client, and nobody else may.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// Each of these pods.
    Pods(&'a [AgentFacts]),
    /// Some pod of each of these clusters.
    Clusters(&'a [ClusterName]),
}

impl Expected<'_> {
    fn describe(self) -> String {
        match self {
            Expected::Pods(pods) => {
                let clusters: BTreeSet<&str> = pods.iter().map(|p| p.id.cluster.as_str()).collect();
                let clusters: Vec<&str> = clusters.into_iter().collect();
                format!(
                    "every request answered, by each of the {} pods behind it in {} and nobody else",
                    pods.len(),
                    clusters.join(" and ")
                )
            }
            Expected::Clusters(clusters) => {
                format!("every request answered, by pods of {} and nobody else", list(clusters))
            }
        }
    }

    /// What is wrong with a client's answers, without figures.
    fn symptoms(self, answers: &Answers) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if let Some(first) = answers.failures.first() {
            let all = if answers.servers.is_empty() { "all" } else { "some" };
            found.insert(format!("{all} requests fail ({})", kind(first)));
        }
        let silent = |who: String| format!("{who} never answers");
        match self {
            Expected::Pods(pods) => {
                for (server, _) in &answers.servers {
                    if !pods.iter().any(|pod| is_pod(server, pod)) {
                        let known = pods.iter().any(|pod| pod.id.cluster.as_str() == server.cluster);
                        found.insert(match known {
                            true => format!("pod {} of {} answers, too", server.pod, server.cluster),
                            false => format!("pods of {} answer, too", server.cluster),
                        });
                    }
                }
                if answers.answered() > 0 {
                    let absent = pods.iter().filter(|pod| answers.by_pod(pod) == 0);
                    found.extend(absent.map(|pod| silent(format!("pod {}", pod.id))));
                }
            }
            Expected::Clusters(clusters) => {
                for (server, _) in &answers.servers {
                    if !clusters.iter().any(|c| c.as_str() == server.cluster) {
                        found.insert(format!("pods of {} answer, too", server.cluster));
                    }
                }
                if answers.answered() > 0 {
                    let absent = clusters.iter().filter(|c| answers.by_cluster(c) == 0);
                    found.extend(absent.map(|cluster| silent(format!("no matter how often, {cluster}"))));
                }
            }
        }
        found
    }
}

fn kind(outcome: &meshproof_contract::Outcome) -> &'static str {
    use meshproof_contract::Outcome;
    match outcome {
        Outcome::Refused { .. } => "refused",
        Outcome::Timeout { .. } => "no answer",
        Outcome::Reset { .. } => "reset",
        _ => "broken",
    }
}

fn list(clusters: &[ClusterName]) -> String {
    let names: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
    names.join(" and ")
}

/// Judges; `what` names the service for people. True when all is as expected.
pub fn judge(
    context: &CheckContext,
    side: &Side,
    what: &str,
    answers: &[Answers],
    expected: Expected<'_>,
    tally: &mut Tally,
) -> bool {
    let mut groups: BTreeMap<String, Vec<&Answers>> = BTreeMap::new();
    let (mut right, mut requests) = (0, 0);
    for one in answers {
        context.note(format!("{what} from {}: {}", one.client.node, one.describe()));
        if let Some(why) = &one.unknown {
            tally.unknown(format!("{what} from {}: {why}", one.client.node));
            continue;
        }
        let symptoms = expected.symptoms(one);
        if symptoms.is_empty() && one.answered() > 0 {
            right += 1;
            requests += one.answered();
        }
        for symptom in symptoms {
            groups.entry(symptom).or_default().push(one);
        }
    }
    if right > 0 {
        tally.witness(format!(
            "{what}: {requests} requests from {right} of {} nodes of {}: {}",
            answers.len(),
            side.cluster,
            expected.describe()
        ));
    }
    let wrong = !groups.is_empty();
    for (symptom, concerned) in groups {
        let clients: Vec<&AgentFacts> = concerned.iter().map(|a| &a.client).collect();
        let example = concerned.first().map_or_else(String::new, |a| a.describe());
        tally.finding(
            format!("{what} from {}", side.nodes(&clients)),
            expected.describe(),
            format!("{symptom} (for example {example})"),
        );
    }
    if wrong {
        suggest(context, side);
    }
    !wrong && right == answers.len()
}

/// Leaves the commands to run next.
pub fn suggest(context: &CheckContext, side: &Side) {
    for command in ["cilium-dbg service list", "cilium-dbg bpf lb list"] {
        context.suggest(next_steps::in_agent(&side.facts, &side.cluster, None, command));
    }
}
