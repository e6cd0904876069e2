//! What operations cost: latencies as measured on two real clusters, sizes as recorded from Cilium 1.18.3. Estimates
//! are called so.

use crate::testing::Shape;
use meshproof_contract::{CiliumQuery, ClusterName};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Time of one request to an API server, without what it carries.
pub const REQUEST: Duration = Duration::from_millis(15);
/// Bytes that an API server delivers in a second (estimate).
pub const RATE: u64 = 20_000_000;
/// Time of one command in a pod: a connection through API server and kubelet, and a process.
pub const EXEC: Duration = Duration::from_millis(200);
/// Time of `cilium-dbg debuginfo`, which runs many commands (estimate).
pub const DEBUGINFO: Duration = Duration::from_millis(600);
/// Time of a batch to an agent through a port-forward that is open, without its probes.
pub const BATCH: Duration = Duration::from_millis(5);
/// Time of a search for the path MTU, in several rounds.
pub const SEARCH: Duration = Duration::from_millis(300);
/// Commands at once in a cluster, as `src/cluster/src/environment.rs` bounds them.
pub const EXECS_AT_ONCE: usize = 12;
/// Pods of the house on each node (estimate), and its identities.
pub const PODS: u64 = 30;
pub const IDENTITIES: u64 = 5;

/// Bytes of what an agent prints.
pub fn printed(query: CiliumQuery, shape: Shape) -> u64 {
    let nodes = shape.clusters as u64 * u64::from(shape.nodes);
    let remotes = shape.clusters as u64 - 1;
    let endpoints = 8_274 * PODS;
    match query {
        CiliumQuery::Status => 22_500 + 700 * remotes,
        // Endpoints, services, policies and the environment (estimate), and 520 B a WireGuard peer.
        CiliumQuery::Debuginfo => 90_000 + endpoints + 520 * (nodes - 1),
        // WireGuard's without peers (recorded); IPsec's is shorter.
        CiliumQuery::EncryptStatus => 243,
        CiliumQuery::Endpoints => endpoints,
        CiliumQuery::Services => 18_016,
        // 100 B an address and a slot, and 14 kB as recorded.
        CiliumQuery::BalancerMap => 2_410 + 100 * PODS,
        CiliumQuery::Ipcache => 110 * PODS * nodes,
        CiliumQuery::Identities => 290 * IDENTITIES * nodes,
        CiliumQuery::Configuration => 14_000,
        CiliumQuery::Policy => 5_560,
        CiliumQuery::Nodes => 449 * nodes,
        CiliumQuery::Health => 1_070 * nodes,
        CiliumQuery::KvstoreMesh => 696 * remotes,
        CiliumQuery::Troubleshoot | CiliumQuery::TroubleshootKvstoreMesh => 1_272 * remotes,
        CiliumQuery::RelayStatus { .. } => 120,
    }
}

/// Bytes of a list of that kind: of the whole cluster's objects, or of the `found` ones of a namespace.
pub fn listed(kind: &str, shape: Shape, in_namespace: bool, found: usize) -> u64 {
    let nodes = u64::from(shape.nodes);
    let (bytes, all) = match kind {
        "Pod" => (8_013, PODS * nodes),
        "Node" => (3_325, nodes),
        "CiliumNode" => (1_105, nodes),
        "CiliumEndpoint" => (706, PODS * nodes),
        "CiliumIdentity" => (644, IDENTITIES * nodes),
        _ => (1_500, found as u64),
    };
    let number = if in_namespace {
        found as u64
    } else {
        all.max(found as u64)
    };
    bytes * number
}

/// What a run used.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// Requests to API servers, commands and port-forwards included.
    pub requests: u64,
    /// Commands in Cilium's pods.
    pub execs: u64,
    /// Batches of probes to agents.
    pub batches: u64,
    /// Bytes read from API servers and Cilium's pods.
    pub read: u64,
    /// Bytes of the largest answer that the harness held at once.
    pub largest: u64,
}

/// Counts, and bounds the commands of each cluster.
pub struct Meter {
    pub shape: Shape,
    used: Mutex<Used>,
    execs: BTreeMap<ClusterName, Semaphore>,
}

impl Meter {
    pub fn new(shape: Shape) -> Self {
        let bounds = shape.sites().into_iter();
        Self {
            shape,
            used: Mutex::default(),
            execs: bounds
                .map(|site| (site.name.into(), Semaphore::new(EXECS_AT_ONCE)))
                .collect(),
        }
    }
    pub fn used(&self) -> Used {
        self.lock().clone()
    }
    pub fn batch(&self) {
        self.lock().batches += 1;
    }
    /// One request to an API server with an answer of that size.
    pub async fn request(&self, bytes: u64) {
        {
            let mut used = self.lock();
            used.requests += 1;
            used.read += bytes;
            used.largest = used.largest.max(bytes);
        }
        tokio::time::sleep(REQUEST + Duration::from_micros(bytes * 1_000_000 / RATE)).await;
    }
    /// One command in each of so many pods of a cluster: a list of them, then a connection each.
    pub async fn commands(&self, cluster: &ClusterName, query: CiliumQuery, pods: u64) {
        self.request(12_432 * pods).await;
        let bytes = printed(query, self.shape);
        {
            let mut used = self.lock();
            used.requests += pods;
            used.execs += pods;
            used.read += bytes * pods;
            used.largest = used.largest.max(bytes * pods);
        }
        let time = match query {
            CiliumQuery::Debuginfo => DEBUGINFO,
            _ => EXEC,
        };
        let one = || async {
            let _permit = self.execs[cluster].acquire().await.expect("never closed");
            tokio::time::sleep(time + Duration::from_micros(bytes * 1_000_000 / RATE)).await;
        };
        futures::future::join_all((0..pods).map(|_| one())).await;
    }
    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().expect("no panic while counting")
    }
}
