//! Plain lines for pipes and CI logs: one for each event worth a line, with the seconds since the start.

use crate::terminal::printable;
use meshproof_contract::{
    ClusterChange, ClusterName, Event, EventRecord, Facts, RunState, Standing, Verdict,
    event::{FaultChange, Shortfall},
    text::{counted, duration},
};

/// The lines of an event, which `run` has taken already; none for events of no interest.
pub(crate) fn lines(record: &EventRecord, run: &RunState) -> Vec<String> {
    let texts = match &record.event {
        Event::RunStarted { run, version, .. } => vec![format!("meshproof {version}, run {run}")],
        Event::Phase { phase } => vec![phase.to_string()],
        Event::Waiting { what } => vec![format!("  {what}")],
        Event::Warning { message } => vec![format!("warning: {message}")],
        Event::FactsFound { facts } => found(facts),
        Event::Planned { trials } => vec![format!("{} planned", counted(trials.len(), "check"))],
        Event::TrialStarted { .. } | Event::ApiRequests { .. } | Event::RunFinished { .. } => Vec::new(),
        Event::TrialFinished {
            trial,
            verdict,
            micros,
            waiver,
            ..
        } => {
            let time = duration(*micros as f64 / 1e6);
            let standing = Standing::of(verdict, waiver.as_deref());
            vec![match verdict {
                _ if standing.is_waived() => format!("{:<12}  {trial}  {time}  {}", "waived", verdict.headline()),
                Verdict::Pass { .. } => format!("{:<12}  {trial}  {time}", verdict.word()),
                Verdict::Skipped { why } => format!("{:<12}  {trial}  {why}", verdict.word()),
                Verdict::Fail { .. } => format!("{:<12}  {trial}  {time}  {}", "FAIL", verdict.headline()),
                Verdict::Inconclusive { .. } => {
                    format!("{:<12}  {trial}  {time}  {}", "INCONCLUSIVE", verdict.headline())
                }
            }]
        }
        Event::Fault { fault, change } => vec![match change {
            FaultChange::Injected => format!("fault injected: {fault}"),
            FaultChange::Healed => format!("fault healed: {fault}"),
        }],
        Event::RequiredMissed { shortfalls } => {
            let line = |s: &Shortfall| format!("required and not run: {}: {}", s.required, s.why);
            shortfalls.iter().map(line).collect()
        }
        Event::WaiversSpent { waivers } => waivers.iter().map(ToString::to_string).collect(),
        Event::ClusterChanged { cluster, change } => vec![changed(cluster, change)],
        Event::Aborted { reason, .. } => vec![format!("aborted: {reason}")],
    };
    let since = format!("{:>7.1}s  ", run.elapsed(record.at));
    texts
        .into_iter()
        .map(|text| since.clone() + &printable(&text))
        .collect()
}

fn changed(cluster: &ClusterName, change: &ClusterChange) -> String {
    match change {
        ClusterChange::NodeNotReady { node, since } => {
            let since = since.map_or(String::new(), |at| format!(" since {}", at.strftime("%H:%M:%S UTC")));
            format!("{cluster}: node {node} is not Ready{since}")
        }
        ClusterChange::NodeReady { node } => format!("{cluster}: node {node} is Ready again"),
        ClusterChange::NodeCame { node } => format!("{cluster}: node {node} was added"),
        ClusterChange::NodeWent { node } => format!("{cluster}: node {node} was removed"),
        ClusterChange::ApiAway { reason } => format!("{cluster}: the API server does not answer: {reason}"),
        ClusterChange::ApiBack => format!("{cluster}: the API server answers again"),
    }
}

fn found(facts: &Facts) -> Vec<String> {
    let mut lines: Vec<String> = facts
        .clusters
        .iter()
        .map(|cluster| {
            let cilium = cluster
                .cilium
                .as_ref()
                .map_or("Cilium not found".to_owned(), |c| format!("Cilium {}", c.version));
            let (name, context, version, nodes) =
                (&cluster.name, &cluster.context, &cluster.version, cluster.nodes.len());
            format!("cluster {name}: context {context}, Kubernetes {version}, {cilium}, {nodes} nodes")
        })
        .collect();
    lines.extend(facts.live_claims_notice());
    lines.extend(facts.missing_agents.iter().map(|agent| {
        let node = agent.node.as_ref().map_or(String::new(), |node| format!(" on {node}"));
        format!(
            "warning: {}: agent of {} missing{node}: {}",
            agent.cluster, agent.workload, agent.state
        )
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::mixed, snapshot};

    #[test]
    fn a_piped_run() {
        let mut run = RunState::default();
        let mut text = Vec::new();
        for record in mixed() {
            run.handle(&record);
            text.extend(lines(&record, &run));
        }
        let text = text.join("\n");
        assert!(!text.contains('\u{1b}'), "no escape codes");
        snapshot::assert("a_piped_run", &text);
    }
}
