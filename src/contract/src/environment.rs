//! What a check may do on the clusters, and nothing more.

mod error;

pub use error::EnvironmentError;

use crate::{
    AgentFacts, AgentId, CaptureReport, CaptureSpec, ClusterName, Disruption, Exchange, Facts, Heard, NodeName,
    Outcome, Probe, StreamReport, StreamSpec,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    net::SocketAddrV4,
    sync::Arc,
    time::{Duration, Instant},
};

/// Clusters with agents in them. The harness implements it over the Kubernetes API; tests implement it in memory, each
/// only the operations that its checks use: what an implementation leaves out answers
/// [`EnvironmentError::Unsupported`].
#[allow(unused_variables)]
#[async_trait]
pub trait Environment: Send + Sync {
    /// What was found before the checks started.
    fn facts(&self) -> Arc<Facts>;

    /// Runs a batch on one agent, all of it at once; the outcomes are in the order of the probes.
    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError> {
        unsupported("probe")
    }

    /// Connects from an agent's pod and speaks a protocol of applications there. What the other side does is in
    /// [`Heard`], whatever it is.
    async fn exchange(&self, agent: &AgentId, exchange: Exchange) -> Result<Heard, EnvironmentError> {
        unsupported("speak a protocol")
    }

    /// Asks Cilium in a cluster, every pod that can answer; an answer per pod, errors included.
    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        unsupported("ask Cilium")
    }

    /// The same of the agents on these nodes only.
    async fn cilium_on(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
        nodes: &[NodeName],
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        unsupported("ask Cilium on some nodes")
    }

    /// Reads one object; none if it does not exist.
    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError> {
        unsupported("read an object")
    }

    /// Reads the objects of a kind in a namespace, or in all when `namespace` is none.
    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError> {
        unsupported("list objects")
    }

    /// Reads the metadata of the objects of a kind in a namespace that have these labels (a selector, `a=b,c=d`). Of
    /// objects as large as a Helm release nothing else is sent.
    async fn list_metadata(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, EnvironmentError> {
        unsupported("list the metadata of objects")
    }

    /// Applies an object (server-side) in a namespace of this run; the run's labels are added. Refused elsewhere. The
    /// object is the trial's own: it is deleted after a trial that could not end by itself.
    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError> {
        unsupported("apply an object")
    }

    /// Changes an object of this run (JSON merge patch: null removes a key); it must exist.
    async fn patch(&self, cluster: &ClusterName, object: &ObjectRef, change: Value) -> Result<Value, EnvironmentError> {
        unsupported("change an object")
    }

    /// Deletes an object of this run; one that does not exist is not an error.
    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        unsupported("delete an object")
    }

    /// The check has no more use for an object that it made in the run's namespaces: it is gone with the run at the
    /// latest. For what stands in nobody's way, since the environment may leave it until then and save a call.
    async fn discard(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError> {
        self.delete(cluster, object).await
    }

    /// The agents of a workload that are ready now, connected: pods come and go while checks disrupt them, and
    /// [`Environment::facts`] stays as it was.
    async fn agents(
        &self,
        cluster: &ClusterName,
        scenario: &str,
        workload: &str,
    ) -> Result<Vec<AgentFacts>, EnvironmentError> {
        unsupported("find agents")
    }

    /// Makes an agent's pod ready or unready to its kubelet, from the next probe of the kubelet on. It serves in either
    /// case.
    async fn set_ready(&self, agent: &AgentId, readiness: Readiness) -> Result<(), EnvironmentError> {
        unsupported("set an agent's readiness")
    }

    /// Reads an agent's clock, which stamps its streams and captures.
    async fn clock(&self, agent: &AgentId) -> Result<ClockReading, EnvironmentError> {
        unsupported("read an agent's clock")
    }

    /// Starts a stream on an agent; it runs when this returns, and until it is stopped or its lifetime ends.
    async fn start_stream(&self, agent: &AgentId, spec: StreamSpec) -> Result<StreamId, EnvironmentError> {
        unsupported("start a stream")
    }

    /// What is known of a stream's probes since the last time.
    async fn collect_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        unsupported("collect a stream")
    }

    /// Ends a stream; the rest of what is to be known.
    async fn stop_stream(&self, agent: &AgentId, stream: StreamId) -> Result<StreamReport, EnvironmentError> {
        unsupported("stop a stream")
    }

    /// Starts a capture on an agent that may capture; packets are seen from when this returns on.
    async fn start_capture(&self, agent: &AgentId, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        unsupported("start a capture")
    }

    /// What a capture has seen up to now.
    async fn collect_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        unsupported("collect a capture")
    }

    /// Ends a capture; all that it has seen.
    async fn stop_capture(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        unsupported("stop a capture")
    }

    /// Disrupts what is not this run's own, where the operators allow it. [`Environment::restore`] undoes it; after the
    /// trial, or at the end of the run, if the check did not.
    async fn disrupt(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        unsupported("disrupt")
    }

    /// Undoes a disruption; one that is not in force is not an error.
    async fn restore(&self, cluster: &ClusterName, disruption: &Disruption) -> Result<(), EnvironmentError> {
        unsupported("undo a disruption")
    }
}

fn unsupported<T>(operation: &'static str) -> Result<T, EnvironmentError> {
    Err(EnvironmentError::Unsupported { operation })
}

/// What an agent answers to its kubelet's readiness probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Readiness {
    Ready,
    Unready,
}

/// A stream of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A capture of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaptureId(pub u64);

/// An agent's clock, read from here: at `at` it showed `micros`, give or take `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The harness's clock in the middle of the quickest round trip.
    pub at: Instant,
    /// What the agent's clock (CLOCK_MONOTONIC of its node) showed, in microseconds.
    pub micros: u64,
    /// Half of that round trip.
    pub error: Duration,
}

impl ClockReading {
    /// What the agent's clock showed, or will show, at an instant of the harness's.
    pub fn micros_at(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.at) {
            Some(later) => self.micros + later.as_micros() as u64,
            None => self.micros.saturating_sub((self.at - instant).as_micros() as u64),
        }
    }
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// `v1`, `cilium.io/v2`.
    pub api_version: String,
    /// `Service`.
    pub kind: String,
    /// None for cluster-wide objects.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// An object in a namespace.
    pub fn namespaced(api_version: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..Self::cluster_wide(api_version, kind, name)
        }
    }
    /// An object of no namespace.
    pub fn cluster_wide(api_version: &str, kind: &str, name: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: None,
            name: name.to_owned(),
        }
    }
    /// The name of an object that says what it is; empty where it does not.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: text(&object["metadata"]["name"]),
        }
    }
}

/// What Cilium's own commands can be asked. JSON shapes: `facts/recorded`, and [`crate::cilium`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CiliumQuery {
    /// `cilium-dbg status -o json` of every agent.
    Status,
    /// `cilium-dbg debuginfo --output json`: the only place with WireGuard peers.
    Debuginfo,
    /// `cilium-dbg encrypt status -o json`: the only place with IPsec's keys and errors.
    EncryptStatus,
    /// `cilium-dbg endpoint list -o json`.
    Endpoints,
    /// `cilium-dbg service list -o json`.
    Services,
    /// `cilium-dbg bpf lb list -o json`: what the data path has of services.
    BalancerMap,
    /// `cilium-dbg bpf ipcache list -o json`: what the data path knows of addresses.
    Ipcache,
    /// `cilium-dbg identity list -o json`.
    Identities,
    /// `cilium-dbg config --all -o json`: what the agent runs with, by the names of its source.
    Configuration,
    /// `cilium-dbg policy get -o json`.
    Policy,
    /// `cilium-dbg node list -o json`.
    Nodes,
    /// `cilium-health status --probe -o json`.
    Health,
    /// `clustermesh-apiserver kvstoremesh-dbg status -o json` of every `clustermesh-apiserver` pod.
    KvstoreMesh,
    /// `cilium-dbg troubleshoot clustermesh` of every agent: text, see [`crate::cilium::troubleshoot`].
    Troubleshoot,
    /// `clustermesh-apiserver kvstoremesh-dbg troubleshoot` of every `clustermesh-apiserver` pod: text.
    TroubleshootKvstoreMesh,
    /// `hubble status --server ADDRESS` of the agents, of which one is enough: what Hubble relay says, as text.
    RelayStatus {
        /// Where relay is reached, without TLS.
        server: SocketAddrV4,
    },
}

/// One pod's answer.
#[derive(Clone, Debug)]
pub struct CiliumAnswer {
    /// The pod that was asked.
    pub pod: String,
    /// The node it runs on.
    pub node: NodeName,
    /// What it printed, or why there is nothing: an exec that "succeeded" without output is an error.
    pub output: Result<Value, EnvironmentError>,
}
