//! Checks and a world for this crate's tests: no cluster, no network.

use crate::plan::{Plan, Trial};
use async_trait::async_trait;
use meshproof_contract::{
    Admission, AgentFacts, AgentId, CaptureId, CaptureReport, CaptureSpec, Check, CheckContext, CheckId, CheckText,
    CiliumAnswer, CiliumQuery, Claim, ClaimKind, ClaimSource, ClockReading, ClusterName, Disruption, Environment,
    EnvironmentError, Facts, Finding, Instance, Needs, ObjectRef, Outcome, Probe, Readiness, Scope, StreamId,
    StreamReport, StreamSpec, Suite, Verdict, Witness, facts::PodNetwork,
};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// A check that does what it is told.
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
        Self::concluding(
            id,
            Verdict::Pass {
                witnesses: vec![Witness {
                    what: "an answer".into(),
                }],
            },
        )
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
    /// Disturbs the world and does not undo it.
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
            End::Panic(message) => panic!("{message}"),
        }
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

/// An environment that knows its facts, and refuses everything else or takes down what is done to it.
#[derive(Default)]
pub(crate) struct World {
    facts: Arc<Facts>,
    calls: Option<Mutex<Vec<String>>>,
}

impl World {
    /// A world that can be changed.
    pub(crate) fn willing() -> Self {
        Self {
            calls: Some(Mutex::default()),
            ..Self::default()
        }
    }
    /// What was done to it.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.calls.as_ref().expect("a willing world");
        calls.lock().expect("no panic").clone()
    }
    pub(crate) fn forget(&self) {
        let calls = self.calls.as_ref().expect("a willing world");
        calls.lock().expect("no panic").clear();
    }
    fn change<T>(&self, cluster: &ClusterName, call: String, answer: T) -> Result<T, EnvironmentError> {
        let Some(calls) = &self.calls else {
            return Self::refuse(cluster, &call);
        };
        calls.lock().expect("no panic").push(call);
        Ok(answer)
    }
    fn refuse<T>(cluster: &ClusterName, operation: &str) -> Result<T, EnvironmentError> {
        let (operation, reason) = (operation.to_owned(), "this world is a fake".to_owned());
        Err(EnvironmentError::Api {
            cluster: cluster.clone(),
            operation,
            reason,
        })
    }
}

#[async_trait]
impl Environment for World {
    fn facts(&self) -> Arc<Facts> {
        self.facts.clone()
    }
    async fn probe(&self, agent: &AgentId, _: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        Self::refuse(&agent.cluster, "probe")
    }
    async fn cilium(&self, cluster: &ClusterName, _: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        Self::refuse(cluster, "ask Cilium")
    }
    async fn get(&self, cluster: &ClusterName, _: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        Self::refuse(cluster, "get")
    }
    async fn list(
        &self,
        cluster: &ClusterName,
        _: &str,
        _: &str,
        _: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        Self::refuse(cluster, "list")
    }
    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        self.change(cluster, "apply".to_owned(), object)
    }
    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.change(cluster, format!("delete {}", object.name), ())
    }
    async fn patch(&self, cluster: &ClusterName, _: &ObjectRef, _: Value) -> Result<Value, EnvironmentError> {
        Self::refuse(cluster, "patch")
    }
    async fn agents(&self, cluster: &ClusterName, _: &str, _: &str) -> Result<Vec<AgentFacts>, EnvironmentError> {
        Self::refuse(cluster, "list agents")
    }
    async fn set_ready(&self, agent: &AgentId, _: Readiness) -> Result<(), EnvironmentError> {
        Self::refuse(&agent.cluster, "set an agent's readiness")
    }
    async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        Self::refuse(&agent.cluster, "read a clock")
    }
    async fn start_stream(&self, agent: &AgentId, _: StreamSpec) -> Result<StreamId, EnvironmentError> {
        Self::refuse(&agent.cluster, "start a stream")
    }
    async fn collect_stream(&self, agent: &AgentId, _: StreamId) -> Result<StreamReport, EnvironmentError> {
        Self::refuse(&agent.cluster, "collect a stream")
    }
    async fn stop_stream(&self, agent: &AgentId, _: StreamId) -> Result<StreamReport, EnvironmentError> {
        Self::refuse(&agent.cluster, "stop a stream")
    }
    async fn start_capture(&self, agent: &AgentId, _: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        Self::refuse(&agent.cluster, "start a capture")
    }
    async fn collect_capture(&self, agent: &AgentId, _: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        Self::refuse(&agent.cluster, "collect a capture")
    }
    async fn stop_capture(&self, agent: &AgentId, _: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        Self::refuse(&agent.cluster, "stop a capture")
    }
    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.change(cluster, format!("disrupt {cluster}: {disruption}"), ())
    }
    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        self.change(cluster, format!("restore {cluster}: {disruption}"), ())
    }
}
