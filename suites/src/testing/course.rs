//! What happens to objects by themselves as time goes on.

use super::kube::Objects;
use jiff::{SignedDuration, Timestamp};
use meshproof_contract::ClusterName;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// When later changes are made.
const LATER: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Change {
    cluster: ClusterName,
    kind: &'static str,
    name: &'static str,
    change: Value,
}

/// A kubelet that renews the Lease of its node.
#[derive(Clone)]
struct Heartbeat {
    cluster: ClusterName,
    node: String,
    /// Seconds by which the node's clock is ahead.
    ahead: i64,
}

/// Changes that come by themselves.
#[derive(Clone)]
pub struct Course {
    began: Instant,
    later: Vec<Change>,
    renewed: Vec<(ClusterName, &'static str)>,
    heartbeats: Vec<Heartbeat>,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            later: Vec::new(),
            renewed: Vec::new(),
            heartbeats: Vec::new(),
        }
    }
}

impl Course {
    pub fn patch_later(&mut self, cluster: &str, kind: &'static str, name: &'static str, change: &Value) {
        self.later.push(Change {
            cluster: cluster.into(),
            kind,
            name,
            change: change.clone(),
        });
    }
    pub fn renew(&mut self, cluster: &str, lease: &'static str) {
        self.renewed.push((cluster.into(), lease));
    }
    /// That node's Lease is renewed by a clock that is so many seconds ahead; the last word about a node counts.
    pub fn beat(&mut self, cluster: &str, node: &str, ahead: i64) {
        self.stop_beating(node);
        self.heartbeats.push(Heartbeat {
            cluster: cluster.into(),
            node: node.to_owned(),
            ahead,
        });
    }
    /// That node's Lease is not renewed any more.
    pub fn stop_beating(&mut self, node: &str) {
        self.heartbeats.retain(|one| one.node != node);
    }
    /// Makes the changes that are due.
    pub fn proceed(&self, objects: &Objects) {
        let elapsed = self.began.elapsed();
        if elapsed >= LATER {
            for one in &self.later {
                objects.patch(&one.cluster, one.kind, one.name, &one.change);
            }
        }
        let time = json!({"spec": {"renewTime": format!("{} ms after the beginning", elapsed.as_millis())}});
        for (cluster, lease) in &self.renewed {
            objects.patch(cluster, "Lease", lease, &time);
        }
        for Heartbeat { cluster, node, ahead } in &self.heartbeats {
            let time = Timestamp::now() + SignedDuration::from_secs(*ahead);
            objects.patch(
                cluster,
                "Lease",
                node,
                &json!({"spec": {"renewTime": time.to_string()}}),
            );
        }
    }
}
