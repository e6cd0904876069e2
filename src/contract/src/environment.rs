//! What a check may do to the world, and nothing more.

use crate::{AgentId, ClusterName, Facts, NodeName, Outcome, Probe};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Clusters with agents in them. The harness implements it over the Kubernetes API; tests implement it in memory.
#[async_trait]
pub trait Environment: Send + Sync {
    /// What was found before the checks started.
    fn facts(&self) -> Arc<Facts>;

    /// Runs a batch on one agent, all of it at once; the outcomes are in the order of the probes.
    async fn probe(&self, agent: &AgentId, batch: Vec<Probe>) -> Result<Vec<Outcome>, EnvironmentError>;

    /// Asks Cilium in a cluster, every pod that can answer; an answer per pod, errors included.
    async fn cilium(&self, cluster: &ClusterName, query: CiliumQuery) -> Result<Vec<CiliumAnswer>, EnvironmentError>;

    /// Reads one object; none if it does not exist.
    async fn get(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<Option<Value>, EnvironmentError>;

    /// Reads the objects of a kind in a namespace, or in all when `namespace` is none.
    async fn list(
        &self,
        cluster: &ClusterName,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, EnvironmentError>;

    /// Applies an object (server-side) in a namespace of this run; the run's labels are added. Refused elsewhere.
    async fn apply(&self, cluster: &ClusterName, object: Value) -> Result<Value, EnvironmentError>;

    /// Deletes an object of this run; one that does not exist is no error.
    async fn delete(&self, cluster: &ClusterName, object: &ObjectRef) -> Result<(), EnvironmentError>;
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

/// What Cilium's own commands can be asked. JSON shapes: `facts/recorded`, and [`crate::cilium`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CiliumQuery {
    /// `cilium-dbg status -o json` of every agent.
    Status,
    /// `cilium-dbg debuginfo --output json`: the only place with WireGuard peers.
    Debuginfo,
    /// `cilium-dbg endpoint list -o json`.
    Endpoints,
    /// `cilium-dbg service list -o json`.
    Services,
    /// `cilium-dbg policy get -o json`.
    Policy,
    /// `cilium-dbg node list -o json`.
    Nodes,
    /// `cilium-health status --probe -o json`.
    Health,
    /// `clustermesh-apiserver kvstoremesh-dbg status -o json` of every `clustermesh-apiserver` pod.
    KvstoreMesh,
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

/// The harness or the API could not do what was asked: says nothing about the mesh.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvironmentError {
    /// The agent cannot be reached any more.
    #[error("agent {agent} does not answer: {reason}")]
    AgentGone {
        /// Which.
        agent: AgentId,
        /// The last error.
        reason: String,
    },
    /// The agent speaks another version of the protocol.
    #[error(
        "agent {agent} speaks protocol {theirs}, this meshproof speaks {ours}: build the probe image from the same version"
    )]
    Version {
        /// Which.
        agent: AgentId,
        /// The agent's.
        theirs: u32,
        /// The harness's.
        ours: u32,
    },
    /// The API server said no.
    #[error("{cluster}: not allowed to {verb} {object}: {reason}")]
    Forbidden {
        /// Which cluster.
        cluster: ClusterName,
        /// The verb.
        verb: String,
        /// The object or kind.
        object: String,
        /// The server's words.
        reason: String,
    },
    /// Something was asked outside the run's own namespaces.
    #[error("refused to touch {object} in {cluster}: it is not this run's own")]
    NotOurs {
        /// Which cluster.
        cluster: ClusterName,
        /// What.
        object: String,
    },
    /// Any other failure of the API.
    #[error("{cluster}: failed to {operation}: {reason}")]
    Api {
        /// Which cluster.
        cluster: ClusterName,
        /// What was being done.
        operation: String,
        /// The error, with its causes.
        reason: String,
    },
    /// A deadline passed; `last` is what was seen last.
    #[error("{cluster}: gave up to {operation} after {seconds} s; last seen: {last}")]
    Deadline {
        /// Which cluster.
        cluster: ClusterName,
        /// What was being done.
        operation: String,
        /// After how long.
        seconds: u64,
        /// The last state.
        last: String,
    },
}
