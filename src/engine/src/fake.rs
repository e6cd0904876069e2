//! Checks and an environment for this crate's tests: no cluster, no network.

use crate::plan::{Plan, Trial};
use async_trait::async_trait;
use meshproof_contract::{
    Admission, AgentFacts, AgentId, Check, CheckContext, CheckId, CheckText, Claim, ClaimKind, ClaimSource,
    ClusterName, Disruption, Environment, EnvironmentError, Facts, Finding, Instance, Needs, ObjectRef, Scope, Suite,
    Verdict, Witness, facts::PodNetwork,
};
use serde_json::Value;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A check whose behaviour is given.
pub(crate) struct FakeCheck {
    id: &'static str,
    scope: Scope,
    needs: Needs,
    lasts: Duration,
    note: Option<&'static str>,
    disrupts: bool,
    end: End,
}

enum End {
    Verdict(Verdict),
    Count,
    Panic(&'static str),
}

impl FakeCheck {
    fn new(id: &'static str, end: End) -> Self {
        Self {
            id,
            scope: Scope::Cluster,
            needs: Needs::default(),
            lasts: Duration::ZERO,
            note: None,
            disrupts: false,
            end,
        }
    }
    pub(crate) fn concluding(id: &'static str, verdict: Verdict) -> Self {
        Self::new(id, End::Verdict(verdict))
    }
    pub(crate) fn passing(id: &'static str) -> Self {
        Self::concluding(id, pass("an answer"))
    }
    /// Counts the trials of its run; each passes with its number as witness.
    pub(crate) fn counting(id: &'static str) -> Self {
        Self::new(id, End::Count)
    }
    pub(crate) fn failing(id: &'static str) -> Self {
        let finding = Finding {
            subject: "a -> b".into(),
            expected: "green".into(),
            observed: "red".into(),
        };
        Self::concluding(
            id,
            Verdict::Fail {
                findings: vec![finding],
            },
        )
    }
    pub(crate) fn panicking(id: &'static str, message: &'static str) -> Self {
        Self::new(id, End::Panic(message))
    }
    pub(crate) fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }
    pub(crate) fn admission(mut self, admission: Admission) -> Self {
        self.needs.admission = admission;
        self
    }
    pub(crate) fn claim(mut self, claim: ClaimKind) -> Self {
        self.needs.claim = Some(claim);
        self
    }
    pub(crate) fn lasting(self, lasts: Duration) -> Self {
        Self { lasts, ..self }
    }
    /// Disrupts the cluster and does not undo it.
    pub(crate) fn disrupting(self) -> Self {
        Self { disrupts: true, ..self }
    }
    pub(crate) fn noting(self, note: &'static str) -> Self {
        Self {
            note: Some(note),
            ..self
        }
    }
}

#[async_trait]
impl Check for FakeCheck {
    fn id(&self) -> CheckId {
        self.id.into()
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "A fake",
            proves: "nothing",
            how: "not at all",
            control: "none",
            when_red: "look here",
        }
    }
    fn scope(&self) -> Scope {
        self.scope
    }
    fn needs(&self) -> Needs {
        self.needs
    }
    fn faults(&self) -> &'static [&'static str] {
        &[]
    }
    async fn run(&self, context: &CheckContext) -> Verdict {
        if let Some(note) = self.note {
            context.note(note);
        }
        if self.disrupts {
            let (cluster, what) = (context.instance.from(), Disruption::MeshApiServerDown);
            let _ = context.environment.disrupt(cluster, &what).await;
        }
        tokio::time::sleep(self.lasts).await;
        match &self.end {
            End::Verdict(verdict) => verdict.clone(),
            End::Count => {
                let before = context.shared.of::<AtomicU32>().fetch_add(1, Ordering::Relaxed);
                pass(&(before + 1).to_string())
            }
            End::Panic(message) => panic!("{message}"),
        }
    }
}

fn pass(witness: &str) -> Verdict {
    let what = witness.to_owned();
    Verdict::Pass {
        witnesses: vec![Witness { what }],
    }
}

/// A suite of these checks; leaked, since suites are static.
pub(crate) fn suite(name: &'static str, checks: Vec<FakeCheck>) -> Suite {
    let checks: Vec<&'static dyn Check> = checks
        .into_iter()
        .map(|check| Box::leak(Box::new(check)) as &'static dyn Check)
        .collect();
    Suite {
        name,
        about: "fakes",
        checks: Box::leak(checks.into_boxed_slice()),
    }
}

/// The check's trial on cluster infra.
pub(crate) fn trial(check: FakeCheck) -> Trial {
    let trial = Trial::new(Box::leak(Box::new(check)), Instance::Cluster("infra".into()));
    Plan::new(vec![trial], Vec::new()).trials()[0].clone()
}

/// A ready agent of scenario `connectivity` in that cluster.
pub(crate) fn agent(cluster: &str) -> AgentFacts {
    AgentFacts {
        id: AgentId {
            cluster: cluster.into(),
            pod: "client-1".into(),
        },
        scenario: "connectivity".into(),
        workload: "client".into(),
        namespace: "meshproof".into(),
        node: "node-1".into(),
        address: [10, 244, 0, 1].into(),
        network: PodNetwork::Pod,
    }
}

/// A claim of that cluster.
pub(crate) fn claim(cluster: &str, kind: ClaimKind) -> Claim {
    let source = ClaimSource::File {
        path: "meshproof.yaml".into(),
        line: 1,
    };
    Claim {
        cluster: cluster.into(),
        kind,
        value: "true".into(),
        source,
    }
}

/// An environment that knows its facts, and records changes or refuses them; it supports nothing else.
#[derive(Default)]
pub(crate) struct FakeEnvironment {
    facts: Arc<Facts>,
    calls: Option<Mutex<Vec<String>>>,
}

impl FakeEnvironment {
    /// One that can be changed.
    pub(crate) fn recording() -> Self {
        Self {
            calls: Some(Mutex::default()),
            ..Self::default()
        }
    }
    /// The changes made to it.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.calls.as_ref().expect("a recording environment");
        calls.lock().expect("no panic").clone()
    }
    pub(crate) fn forget(&self) {
        let calls = self.calls.as_ref().expect("a recording environment");
        calls.lock().expect("no panic").clear();
    }
    fn change<T>(&self, call: String, answer: T) -> Result<T, EnvironmentError> {
        let refused = EnvironmentError::Unsupported {
            operation: "be changed",
        };
        let calls = self.calls.as_ref().ok_or(refused)?;
        calls.lock().expect("no panic").push(call);
        Ok(answer)
    }
}

#[async_trait]
impl Environment for FakeEnvironment {
    fn facts(&self) -> Arc<Facts> {
        self.facts.clone()
    }
    async fn apply(&self, _: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        self.change("apply".to_owned(), object)
    }
    async fn delete(&self, _: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.change(format!("delete {}", object.name), ())
    }
    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.change(format!("disrupt {cluster}: {disruption}"), ())
    }
    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.change(format!("restore {cluster}: {disruption}"), ())
    }
}
