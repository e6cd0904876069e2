//! Answers of many clients judged against who must and who may answer, in as few findings as say where it is wrong.

use super::{
    ask::{Answers, is_pod},
    side::Side,
};
use crate::kit::{next_steps, observers};
use meshproof_contract::{
    AgentFacts, CheckContext, ClusterName, Evidence, Identity, NodeLabel, Outcome, Tally, Unit,
    evidence::{Cell, CellOutcome, Row},
};
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
                    "every request answered, by each of the {} backends in {} and no others",
                    pods.len(),
                    clusters.join(" and ")
                )
            }
            Expected::Clusters(clusters) => {
                format!("every request answered, by pods of {} and no others", list(clusters))
            }
        }
    }

    /// Whether the server may answer.
    fn includes(self, server: &Identity) -> bool {
        match self {
            Expected::Pods(pods) => pods.iter().any(|pod| is_pod(server, pod)),
            Expected::Clusters(clusters) => clusters.iter().any(|c| c.as_str() == server.cluster),
        }
    }

    /// What is wrong with a client's answers, without figures.
    fn symptoms(self, answers: &Answers) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if let Some(first) = answers.failures.first() {
            let all = if answers.servers.is_empty() { "all" } else { "some" };
            found.insert(format!("{all} requests fail ({})", kind(first)));
        }
        for (server, _) in answers.servers.iter().filter(|(server, _)| !self.includes(server)) {
            let known = match self {
                Expected::Pods(pods) => pods.iter().any(|pod| pod.id.cluster.as_str() == server.cluster),
                Expected::Clusters(_) => false,
            };
            found.insert(if known {
                format!("unexpected answers from pod {} of {}", server.pod, server.cluster)
            } else {
                format!("unexpected answers from pods of {}", server.cluster)
            });
        }
        if answers.answered() > 0 {
            match self {
                Expected::Pods(pods) => {
                    let absent = pods.iter().filter(|pod| answers.by_pod(pod) == 0);
                    found.extend(absent.map(|pod| format!("pod {} never answers", pod.id)));
                }
                Expected::Clusters(clusters) => {
                    let absent = clusters.iter().filter(|c| answers.by_cluster(c) == 0);
                    found.extend(absent.map(|cluster| format!("no pod of {cluster} ever answers")));
                }
            }
        }
        found
    }

    /// Who answered a client, node by node.
    fn cells(self, answers: &Answers) -> Vec<Cell> {
        let mut cells: BTreeMap<NodeLabel, Cell> = BTreeMap::new();
        if let (Expected::Pods(pods), true) = (self, answers.answered() > 0) {
            let silent = pods.iter().filter(|pod| answers.by_pod(pod) == 0);
            cells.extend(silent.map(|pod| {
                let detail = format!("pod {} never answers", pod.id.pod);
                let to = NodeLabel::from(pod);
                (to.clone(), cell(to, CellOutcome::NoAnswer, Some(detail)))
            }));
        }
        for (server, times) in &answers.servers {
            let to = NodeLabel::pod(&server.cluster.as_str().into(), &server.node.as_str().into());
            let cell = cells
                .entry(to.clone())
                .or_insert_with(|| cell(to, CellOutcome::Ok, None));
            cell.value = Some(cell.value.unwrap_or_default() + f64::from(*times));
            if !self.includes(server) {
                cell.outcome = CellOutcome::Mismatch;
                cell.detail = Some(format!("unexpected answers from pod {}", server.pod));
            }
        }
        cells.into_values().collect()
    }
}

/// A cell whose figure is a number of answers.
fn cell(to: NodeLabel, outcome: CellOutcome, detail: Option<String>) -> Cell {
    Cell {
        to,
        outcome,
        value: Some(0.0),
        unit: Some(Unit::Count),
        detail,
    }
}

/// Leaves who answered a client: a row of the nodes that did or should have, and a note of what failed.
fn leave(context: &CheckContext, what: &str, answers: &Answers, expected: Expected<'_>) {
    let cells = expected.cells(answers);
    if !answers.failures.is_empty() || answers.unknown.is_some() || cells.is_empty() {
        context.note(format!("{what} from {}: {}", answers.client.node, answers.describe()));
    }
    if !cells.is_empty() {
        context.evidence(Evidence::Row(Row {
            what: format!("{what}, requests answered"),
            from: NodeLabel::from(&answers.client),
            cells,
        }));
    }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Refused { .. } => "refused",
        Outcome::Denied { .. } => "refused by the client's own node",
        Outcome::Timeout { .. } => "no answer",
        Outcome::Reset { .. } => "reset",
        _ => "broken answer",
    }
}

fn list(clusters: &[ClusterName]) -> String {
    let names: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
    names.join(" and ")
}

/// Judges; `what` names the Service for people. True if all is as expected.
pub fn judge(
    context: &CheckContext,
    side: &Side,
    what: &str,
    answers: &[Answers],
    expected: Expected<'_>,
    tally: &mut Tally,
) -> bool {
    let mut groups: BTreeMap<String, Vec<&Answers>> = BTreeMap::new();
    let (mut correct, mut requests) = (0, 0);
    for one in answers {
        leave(context, what, one, expected);
        if let Some(why) = &one.unknown {
            tally.unknown(format!("{what} from {}: {why}", one.client.node));
            continue;
        }
        let symptoms = expected.symptoms(one);
        if symptoms.is_empty() && one.answered() > 0 {
            correct += 1;
            requests += one.answered();
        }
        for symptom in symptoms {
            groups.entry(symptom).or_default().push(one);
        }
    }
    if correct > 0 {
        tally.witness(format!(
            "{what}: {requests} requests from {correct} of {} nodes of {}: {}",
            answers.len(),
            side.cluster,
            expected.describe()
        ));
    }
    let first = groups.values().flatten().next().map(|answers| &answers.client);
    let wrong = first.is_some();
    let unable = answers.iter().filter(|one| one.unknown.is_some()).count();
    if let Some(why) = observers::too_few(unable, answers.len()) {
        for symptom in groups.keys() {
            tally.unknown(format!("{what}: {symptom}, but {why}"));
        }
        return false;
    }
    for (symptom, concerned) in groups {
        let clients: Vec<&AgentFacts> = concerned.iter().map(|a| &a.client).collect();
        let example = concerned.first().map_or_else(String::new, |a| a.describe());
        tally.finding(
            format!("{what} from {}", side.nodes(&clients)),
            expected.describe(),
            format!("{symptom} (for example: {example})"),
        );
    }
    if wrong {
        suggest(context, side, first);
    }
    !wrong && correct == answers.len()
}

/// Suggests the commands to run next, on the client's node if only some clients are concerned.
pub fn suggest(context: &CheckContext, side: &Side, client: Option<&AgentFacts>) {
    let node = client.map(|client| &client.node);
    for command in ["cilium-dbg service list", "cilium-dbg bpf lb list"] {
        context.suggest(next_steps::in_agent(&side.facts, &side.cluster, node, command));
    }
}
