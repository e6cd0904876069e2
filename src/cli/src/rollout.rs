//! A rollout that a watch waits for.

use meshproof_contract::{ClusterName, Environment, ObjectRef};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, time::Duration};
use tokio::time::sleep;

/// Where Cilium's own workloads are.
const NAMESPACE: &str = "kube-system";
/// Between two looks.
const POLL: Duration = Duration::from_secs(2);
/// How long is watched once it is complete.
const SETTLE: Duration = Duration::from_secs(10);

/// A workload of kube-system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    kind: &'static str,
    name: String,
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {NAMESPACE}/{}", self.kind, self.name)
    }
}

impl Rollout {
    /// From `daemonset/cilium`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or((text, ""));
        let kind = match kind.to_ascii_lowercase().as_str() {
            "daemonset" | "ds" => "DaemonSet",
            "deployment" | "deploy" => "Deployment",
            "statefulset" | "sts" => "StatefulSet",
            _ => return Err("expected KIND/NAME, such as daemonset/cilium or deployment/cilium-operator".to_owned()),
        };
        if name.is_empty() || name.contains('/') {
            return Err("expected KIND/NAME, such as daemonset/cilium".to_owned());
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }

    /// Returns some seconds after it was rolled out: begun in at least one cluster, and complete in all that have it.
    /// Clusters that do not answer are asked again.
    pub async fn complete(&self, environment: &dyn Environment, clusters: &[ClusterName]) {
        let object = ObjectRef::namespaced("apps/v1", self.kind, NAMESPACE, &self.name);
        let mut first: BTreeMap<&ClusterName, u64> = BTreeMap::new();
        let mut begun = false;
        loop {
            let mut complete = true;
            for cluster in clusters {
                match environment.get(cluster, &object).await {
                    Ok(Some(workload)) => {
                        let generation = workload["metadata"]["generation"].as_u64().unwrap_or(0);
                        begun |= *first.entry(cluster).or_insert(generation) < generation;
                        complete &= is_complete(&workload);
                    }
                    Ok(None) => {}
                    Err(_) => complete = false,
                }
            }
            if begun && complete {
                sleep(SETTLE).await;
                return;
            }
            sleep(POLL).await;
        }
    }
}

/// Whether every replica is of the newest template and available (`kubectl rollout status`).
fn is_complete(workload: &Value) -> bool {
    let (spec, status) = (&workload["spec"], &workload["status"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    if number(&status["observedGeneration"]) < number(&workload["metadata"]["generation"]) {
        return false;
    }
    let (wanted, updated, available) = if status["desiredNumberScheduled"].is_null() {
        let wanted = spec["replicas"].as_u64().unwrap_or(1);
        (wanted, &status["updatedReplicas"], &status["availableReplicas"])
    } else {
        let wanted = number(&status["desiredNumberScheduled"]);
        (wanted, &status["updatedNumberScheduled"], &status["numberAvailable"])
    };
    number(updated) >= wanted && number(available) >= wanted && number(&status["replicas"]) <= wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_is_named_as_kubectl_does() {
        assert_eq!(
            Rollout::parse("daemonset/cilium").map(|rollout| rollout.to_string()),
            Ok("DaemonSet kube-system/cilium".to_owned())
        );
        for wrong in ["cilium", "pod/cilium", "deployment/", "deployment/a/b"] {
            assert!(Rollout::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rollout_is_complete_once_all_replicas_are_new_and_available() {
        let daemon_set = |updated: u64, available: u64| {
            json!({"metadata": {"generation": 4}, "status": {
                "observedGeneration": 4, "desiredNumberScheduled": 3, "updatedNumberScheduled": updated,
                "numberAvailable": available,
            }})
        };
        assert!(is_complete(&daemon_set(3, 3)));
        assert!(!is_complete(&daemon_set(2, 3)));
        assert!(!is_complete(&daemon_set(3, 2)));
        let deployment = |replicas: u64, observed: u64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {
                "observedGeneration": observed, "replicas": replicas, "updatedReplicas": 2, "availableReplicas": 2,
            }})
        };
        assert!(is_complete(&deployment(2, 2)));
        assert!(!is_complete(&deployment(3, 2)), "an old one is there still");
        assert!(!is_complete(&deployment(2, 1)));
    }
}
