//! Checks and suites: what is verified, why, and what it needs.

use crate::{
    Admission, CheckId, ClaimKind, ClusterName, Distribution, Environment, Evidence, Flow, Measurement, RunShared,
    Subject, TrialName, Unit, Verdict,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, Mutex},
};

/// A suite is an area of the mission: a name, what it is about, and its checks.
#[derive(Clone, Copy)]
pub struct Suite {
    /// The first part of its checks' ids.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Its checks in the order in which they are listed.
    pub checks: &'static [&'static dyn Check],
}

/// One thing to verify.
#[async_trait]
pub trait Check: Send + Sync {
    /// Stable id, `suite::check`.
    fn id(&self) -> CheckId;
    /// The texts for people.
    fn text(&self) -> CheckText;
    /// On what it runs: the engine makes one trial of each instance.
    fn scope(&self) -> Scope;
    /// What must be there for it to run.
    fn needs(&self) -> Needs {
        Needs::default()
    }
    /// Faults of the lab that must turn it red, in kebab case.
    fn faults(&self) -> &'static [&'static str];
    /// Faults of the lab that take away what it observes with: it cannot turn red then, and must not be green.
    fn blinded_by(&self) -> &'static [&'static str] {
        &[]
    }
    /// The lab's faults that can make it inconclusive, depending on where they act.
    fn dimmed_by(&self) -> &'static [&'static str] {
        &[]
    }
    /// Observes and concludes.
    async fn run(&self, context: &CheckContext) -> Verdict;
}

/// The texts of a check; `explain`, docs and reports show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckText {
    /// One line, no full stop.
    pub title: &'static str,
    /// What a pass proves.
    pub proves: &'static str,
    /// How it is observed.
    pub how: &'static str,
    /// The positive control without which it cannot pass.
    pub control: &'static str,
    /// What to look at when it is red.
    pub when_red: &'static str,
}

/// On what a check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Once in each cluster.
    Cluster,
    /// Once for each ordered pair of different clusters.
    Direction,
    /// Once for each of these flows of the operators.
    Flow(FlowKind),
}

/// Which flows of the operators a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowKind {
    /// Those that must be possible.
    Allowed,
    /// Those that must not.
    Denied,
    /// Those of which is said whether they are encrypted between nodes.
    Encrypted,
}

impl FlowKind {
    fn includes(self, flow: &Flow) -> bool {
        match self {
            FlowKind::Allowed => flow.expect.allowed,
            FlowKind::Denied => !flow.expect.allowed,
            FlowKind::Encrypted => flow.expect.encrypted.is_some(),
        }
    }
}

/// One instance of a check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Instance {
    /// On one cluster.
    Cluster(ClusterName),
    /// From one cluster to another.
    Direction {
        /// Where it starts.
        from: ClusterName,
        /// Where it goes.
        to: ClusterName,
    },
    /// A flow of the operators.
    Flow {
        /// The client's cluster.
        from: ClusterName,
        /// The flow's name.
        name: String,
    },
}

impl Instance {
    /// The instance on a flow.
    pub fn of_flow(flow: &Flow) -> Self {
        Instance::Flow {
            from: flow.from.cluster.clone(),
            name: flow.name.clone(),
        }
    }
    /// The instances of a scope over these clusters and flows, in order.
    pub fn of(scope: Scope, clusters: &[ClusterName], flows: &[Flow]) -> Vec<Instance> {
        match scope {
            Scope::Cluster => clusters.iter().cloned().map(Instance::Cluster).collect(),
            Scope::Direction => clusters
                .iter()
                .flat_map(|from| clusters.iter().map(move |to| (from, to)))
                .filter(|(from, to)| from != to)
                .map(|(from, to)| Instance::Direction {
                    from: from.clone(),
                    to: to.clone(),
                })
                .collect(),
            Scope::Flow(kind) => {
                let flows = flows.iter().filter(|flow| kind.includes(flow));
                flows.map(Instance::of_flow).collect()
            }
        }
    }
    /// The cluster that it starts from.
    pub fn from(&self) -> &ClusterName {
        match self {
            Instance::Cluster(cluster) => cluster,
            Instance::Direction { from, .. } | Instance::Flow { from, .. } => from,
        }
    }
    /// The cluster that it goes to; the same for an instance on one cluster, and for a flow.
    pub fn to(&self) -> &ClusterName {
        match self {
            Instance::Cluster(cluster) => cluster,
            Instance::Direction { to, .. } => to,
            Instance::Flow { from, .. } => from,
        }
    }
    /// The stable name of that trial.
    pub fn trial(&self, check: &CheckId) -> TrialName {
        TrialName::new(format!("{check}[{self}]"))
    }
}

impl TrialName {
    /// The instance in the brackets; none for a name without them.
    pub fn instance(&self) -> Option<Instance> {
        let (_, rest) = self.as_str().split_once('[')?;
        let inner = rest.trim_end_matches(']');
        if let Some((from, name)) = inner.split_once('/') {
            return Some(Instance::Flow {
                from: from.into(),
                name: name.to_owned(),
            });
        }
        Some(match inner.split_once("->") {
            Some((from, to)) => Instance::Direction {
                from: from.into(),
                to: to.into(),
            },
            None => Instance::Cluster(inner.into()),
        })
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instance::Cluster(cluster) => cluster.fmt(f),
            Instance::Direction { from, to } => write!(f, "{from}->{to}"),
            Instance::Flow { from, name } => write!(f, "{from}/{name}"),
        }
    }
}

/// What a check needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The scenario whose agents and services it uses, by file name without extension.
    pub scenario: Option<&'static str>,
    /// The claim without which it is skipped as "not claimed".
    pub claim: Option<ClaimKind>,
    /// Whether others may run beside it.
    pub admission: Admission,
    /// Whether it changes objects of the run (services, workloads, policies) and waits for the change to come through.
    pub mutates: bool,
}

/// What a running check is given.
#[derive(Clone)]
pub struct CheckContext {
    /// The world.
    pub environment: Arc<dyn Environment>,
    /// Which instance this is.
    pub instance: Instance,
    /// What the trials of this run share.
    pub shared: Arc<RunShared>,
    /// What was read once for all trials, and does not change while they run. Unlike what they share it ends with the
    /// run: the next one on the same deployment reads again.
    pub observed: Arc<RunShared>,
    notes: Arc<Mutex<Notes>>,
}

/// What a check leaves beside its verdict.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Figures.
    pub measurements: Vec<Measurement>,
    /// What was seen.
    pub evidence: Vec<Evidence>,
}

impl CheckContext {
    /// A context with empty notes.
    pub fn new(environment: Arc<dyn Environment>, instance: Instance) -> Self {
        Self {
            environment,
            instance,
            shared: Arc::default(),
            observed: Arc::default(),
            notes: Arc::default(),
        }
    }
    /// The same context as one trial of a run.
    pub fn sharing(self, shared: Arc<RunShared>) -> Self {
        Self { shared, ..self }
    }
    /// The same context with what other trials of the run have read.
    pub fn observing(self, observed: Arc<RunShared>) -> Self {
        Self { observed, ..self }
    }
    /// Records a figure.
    pub fn measure(&self, name: &str, subject: impl Into<Subject>, value: f64, unit: Unit) {
        self.record(Measurement {
            name: name.to_owned(),
            subject: subject.into(),
            value,
            unit,
            distribution: None,
        });
    }
    /// Records latencies as one figure: its value is the 99th percentile, in microseconds.
    pub fn measure_latencies(&self, name: &str, subject: impl Into<Subject>, latencies: Distribution) {
        self.record(Measurement::of_latencies(name, subject, latencies));
    }
    /// Records a figure.
    pub fn record(&self, measurement: Measurement) {
        self.with_notes(|n| n.measurements.push(measurement));
    }
    /// Records a piece of evidence.
    pub fn evidence(&self, evidence: Evidence) {
        self.with_notes(|n| n.evidence.push(evidence));
    }
    /// Records a sentence for people as evidence.
    pub fn note(&self, text: impl Into<String>) {
        self.evidence(Evidence::note(text));
    }
    /// Records a command to run next as evidence.
    pub fn suggest(&self, command: impl Into<String>) {
        self.evidence(Evidence::command(command));
    }
    /// Takes the notes out, leaving none.
    pub fn take_notes(&self) -> Notes {
        self.with_notes(std::mem::take)
    }

    fn with_notes<T>(&self, f: impl FnOnce(&mut Notes) -> T) -> T {
        f(&mut self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_name_names_its_check_and_instance() {
        let check: CheckId = "mesh::ready".into();
        for instance in [
            Instance::Cluster("infra".into()),
            Instance::Direction {
                from: "infra".into(),
                to: "apps".into(),
            },
            Instance::Flow {
                from: "apps".into(),
                name: "gitlab: web -> database".into(),
            },
        ] {
            let trial = instance.trial(&check);
            assert_eq!((trial.check(), trial.instance()), (check.clone(), Some(instance)));
        }
        let bare: TrialName = "mesh::ready".into();
        assert_eq!((bare.check(), bare.instance(), bare.short()), (check, None, "ready"));
    }
}
