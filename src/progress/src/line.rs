//! Plain lines for pipes and CI logs: one for each event worth telling, with the seconds since the start.

use crate::{
    terminal::printable,
    view::{View, headline},
};
use meshproof_contract::{
    ClusterName, Event, EventRecord, Facts, Verdict,
    event::{FaultChange, Shortfall},
    text::duration,
};
use std::collections::BTreeSet;

/// The lines of an event; `view` has taken it already. Empty for what is not worth telling.
pub(crate) fn lines(record: &EventRecord, view: &View) -> Vec<String> {
    let texts = match &record.event {
        Event::RunStarted { run, version, .. } => vec![format!("meshproof {version}, run {run}")],
        Event::Phase { phase } => vec![phase.to_string()],
        Event::Waiting { what } => vec![format!("  {what}")],
        Event::Warning { message } => vec![format!("warning: {message}")],
        Event::FactsFound { facts } => found(facts, &view.live_claims),
        Event::Planned { trials } => vec![format!("{} trials planned", trials.len())],
        Event::TrialStarted { .. } | Event::RunFinished { .. } => Vec::new(),
        Event::TrialFinished {
            trial, verdict, micros, ..
        } => {
            let time = duration(*micros as f64 / 1e6);
            vec![match verdict {
                Verdict::Pass { .. } => format!("{:<12}  {trial}  {time}", verdict.word()),
                Verdict::Skipped { why } => format!("{:<12}  {trial}  {why}", verdict.word()),
                Verdict::Fail { .. } => format!("{:<12}  {trial}  {time}  {}", "FAIL", headline(verdict)),
                Verdict::Inconclusive { .. } => {
                    format!("{:<12}  {trial}  {time}  {}", "INCONCLUSIVE", headline(verdict))
                }
            }]
        }
        Event::Fault { fault, change } => vec![match change {
            FaultChange::Injected => format!("fault injected: {fault}"),
            FaultChange::Healed => format!("fault healed: {fault}"),
        }],
        Event::RequiredMissed { shortfalls } => {
            let told = |s: &Shortfall| format!("required and not run: {}: {}", s.required, s.why);
            shortfalls.iter().map(told).collect()
        }
        Event::Aborted { reason, .. } => vec![format!("aborted: {reason}")],
    };
    let since = format!("{:>7.1}s  ", view.elapsed(record.at));
    texts
        .into_iter()
        .map(|text| since.clone() + &printable(&text))
        .collect()
}

/// Whose claims were not taken from files, as one line; none when all were.
pub(crate) fn claims_line(live: &BTreeSet<ClusterName>) -> Option<String> {
    let names = live
        .iter()
        .map(ClusterName::to_string)
        .collect::<Vec<_>>()
        .join(" and ");
    (!live.is_empty()).then(|| {
        format!(
            "claims were taken from the live configuration of {names}, not from the operators' files (meshproof.yaml)"
        )
    })
}

fn found(facts: &Facts, live: &BTreeSet<ClusterName>) -> Vec<String> {
    let mut lines: Vec<String> = facts
        .clusters
        .iter()
        .map(|cluster| {
            let cilium = cluster
                .cilium
                .as_ref()
                .map_or("no Cilium found".to_owned(), |c| format!("Cilium {}", c.version));
            let (name, context, version, nodes) =
                (&cluster.name, &cluster.context, &cluster.version, cluster.nodes.len());
            format!("cluster {name}: context {context}, Kubernetes {version}, {cilium}, {nodes} nodes")
        })
        .collect();
    lines.extend(claims_line(live));
    lines.extend(facts.missing_agents.iter().map(|agent| {
        let node = agent.node.as_ref().map_or(String::new(), |node| format!(" on {node}"));
        format!(
            "warning: {}: no agent of {}{node}: {}",
            agent.cluster, agent.workload, agent.state
        )
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::mixed;

    #[test]
    fn a_piped_run() {
        let mut view = View::default();
        let mut told = Vec::new();
        for record in mixed() {
            view.handle(&record);
            told.extend(lines(&record, &view));
        }
        let told = told.join("\n");
        assert!(!told.contains('\u{1b}'), "no escape codes");
        insta::assert_snapshot!(told);
    }
}
