//! Other clusters: `cluster-mesh` of the agent's status, and `kvstoremesh-dbg status`.

use super::super::{
    time::{ago, millis_or_never},
    view::{RemotePhase, RemoteView},
};
use serde_json::{Value, json};

/// Whose status is shown. The two differ in what they follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observer {
    /// An agent, which follows its own cluster's copy.
    Agent,
    /// KVStoreMesh, which follows the other cluster, service exports included.
    Kvstoremesh,
}

/// One other cluster, as JSON.
pub fn cluster(remote: &RemoteView, observer: Observer) -> Value {
    let mut value = json!({
        "last-failure": millis_or_never(remote.last_failure),
        "name": remote.name,
        "status": status(remote),
        "synced": synced(remote, observer),
    });
    let counts = [
        ("num-endpoints", remote.counts.endpoints as u64),
        ("num-identities", remote.counts.identities as u64),
        ("num-nodes", remote.counts.nodes as u64),
        ("num-shared-services", remote.counts.services as u64),
        ("num-failures", remote.failures),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        value[name] = json!(count);
    }
    if remote.phase != RemotePhase::Waiting {
        value["connected"] = json!(true);
    }
    if let RemotePhase::Ready { cluster_id } | RemotePhase::Syncing { cluster_id } = remote.phase {
        value["config"] = json!({
            "cluster-id": cluster_id,
            "required": true,
            "retrieved": true,
            "service-exports-enabled": false,
            "sync-canaries": true,
        });
        if observer == Observer::Agent {
            value["config"]["kvstoremesh"] = json!(true);
        }
    }
    if is_ready(remote) {
        value["ready"] = json!(true);
    }
    value
}

/// Whether everything about the other cluster is known.
pub fn is_ready(remote: &RemoteView) -> bool {
    matches!(remote.phase, RemotePhase::Ready { .. })
}

fn status(remote: &RemoteView) -> String {
    match remote.phase {
        RemotePhase::Waiting => "Waiting for initial connection to be established".to_owned(),
        _ => format!(
            "etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true: endpoint status checks are disabled, ID: \
             {:x}",
            remote.etcd_id
        ),
    }
}

fn synced(remote: &RemoteView, observer: Observer) -> Value {
    let services = match remote.phase {
        RemotePhase::Waiting | RemotePhase::Unconfigured => return json!({}),
        // What is false is left out.
        RemotePhase::Syncing { .. } => false,
        RemotePhase::Ready { .. } => true,
    };
    let mut value = json!({"endpoints": true, "identities": true, "nodes": true});
    if services {
        value["services"] = json!(true);
    }
    if observer == Observer::Kvstoremesh {
        value["service-exports"] = json!(true);
    }
    value
}

/// `clustermesh-apiserver kvstoremesh-dbg status`.
pub fn kvstoremesh_text(remotes: &[RemoteView], now: std::time::SystemTime) -> String {
    let ready = remotes.iter().filter(|remote| is_ready(remote)).count();
    let mut text = format!("KVStoreMesh:\t{ready}/{} remote clusters ready\n", remotes.len());
    for remote in remotes {
        text.push_str(&line(remote, now, ", 0 MCS-API service exports"));
        text.push_str(&details(remote));
    }
    text
}

/// The lines about clusters that are not ready, in `cilium-dbg status`.
pub fn not_ready_text(remotes: &[RemoteView], now: std::time::SystemTime) -> String {
    let not_ready = remotes.iter().filter(|remote| !is_ready(remote));
    not_ready
        .map(|remote| line(remote, now, "") + &details(remote))
        .collect()
}

fn line(remote: &RemoteView, now: std::time::SystemTime, exports: &str) -> String {
    let state = if is_ready(remote) { "ready" } else { "not-ready" };
    let counts = &remote.counts;
    let last = remote
        .last_failure
        .map_or_else(|| "never".to_owned(), |at| ago(now, at));
    format!(
        "   {}: {state}, {} nodes, {} endpoints, {} identities, {} services{exports}, {} reconnections (last: \
         {last})\n",
        remote.name, counts.nodes, counts.endpoints, counts.identities, counts.services, remote.failures
    )
}

fn details(remote: &RemoteView) -> String {
    if is_ready(remote) {
        return String::new();
    }
    let (retrieved, others, services) = match remote.phase {
        RemotePhase::Waiting | RemotePhase::Unconfigured => ("expected=unknown, retrieved=unknown", false, false),
        RemotePhase::Syncing { .. } => ("expected=true, retrieved=true", true, false),
        RemotePhase::Ready { .. } => ("expected=true, retrieved=true", true, true),
    };
    format!(
        "   └  {}\n   └  remote configuration: {retrieved}\n   └  synchronization status: nodes={others}, \
         endpoints={others}, identities={others}, services={services}\n",
        status(remote)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Counts;
    use std::time::{Duration, SystemTime};

    fn remote(phase: RemotePhase) -> RemoteView {
        RemoteView {
            name: "apps".into(),
            phase,
            counts: Counts {
                nodes: 2,
                identities: 11,
                endpoints: 11,
                services: 1,
            },
            failures: 1,
            last_failure: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_716_896_737)),
            etcd_id: 0x9ee8_182b_71e8_c2fd,
        }
    }

    #[test]
    fn a_lost_cluster_reads_as_recorded() {
        let recorded = json!({
            "last-failure": "2025-11-21T09:21:36.737Z",
            "name": "apps",
            "num-endpoints": 11,
            "num-failures": 1,
            "num-identities": 11,
            "num-nodes": 2,
            "num-shared-services": 1,
            "status": "Waiting for initial connection to be established",
            "synced": {}
        });
        assert_eq!(cluster(&remote(RemotePhase::Waiting), Observer::Kvstoremesh), recorded);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_763_716_906_800);
        let recorded = "KVStoreMesh:\t0/1 remote clusters ready\n   apps: not-ready, 2 nodes, 11 endpoints, 11 \
                        identities, 1 services, 0 MCS-API service exports, 1 reconnections (last: 10s ago)\n   └  \
                        Waiting for initial connection to be established\n   └  remote configuration: \
                        expected=unknown, retrieved=unknown\n   └  synchronization status: nodes=false, \
                        endpoints=false, identities=false, services=false\n";
        assert_eq!(kvstoremesh_text(&[remote(RemotePhase::Waiting)], now), recorded);
    }

    #[test]
    fn what_is_not_synchronised_is_left_out_and_not_ready() {
        let value = cluster(&remote(RemotePhase::Syncing { cluster_id: 2 }), Observer::Agent);
        assert_eq!(value["connected"], true);
        assert_eq!(value.get("ready"), None);
        assert_eq!(
            value["synced"],
            json!({"endpoints": true, "identities": true, "nodes": true})
        );
    }
}
