//! The requests that meshproof itself makes to API servers, counted: its load on other people's clusters.

use crate::ClusterName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests of one kind to one cluster, from the start of the run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiRequests {
    /// The cluster.
    pub cluster: ClusterName,
    /// As Kubernetes names it: `list`, `watch`, `patch`, `deletecollection`; `connect` opens a stream to a pod.
    pub verb: String,
    /// As RBAC names it: `pods`, `pods/exec`, `daemonsets.apps`; a path where there is no resource: `/version`.
    pub resource: String,
    /// What an exec runs, without its options: `cilium-dbg status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// How many. What the client library sends again by itself counts once.
    pub count: u64,
}

/// All of them in one line, `API requests: 412 (infra 210, apps 202)`; none where none were counted.
pub fn api_requests_line(requests: &[ApiRequests]) -> Option<String> {
    let mut clusters: Vec<(&ClusterName, u64)> = Vec::new();
    for one in requests {
        match clusters.iter_mut().find(|(name, _)| *name == &one.cluster) {
            Some((_, count)) => *count += one.count,
            None => clusters.push((&one.cluster, one.count)),
        }
    }
    let total: u64 = clusters.iter().map(|(_, count)| count).sum();
    let each: Vec<String> = clusters.iter().map(|(name, count)| format!("{name} {count}")).collect();
    (total > 0).then(|| format!("API requests: {total} ({})", each.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_a_sum_for_each_cluster() {
        let of = |cluster: &str, verb: &str, count| ApiRequests {
            cluster: cluster.into(),
            verb: verb.to_owned(),
            resource: "pods".to_owned(),
            command: None,
            count,
        };
        let requests = [
            of("infra", "list", 200),
            of("infra", "watch", 10),
            of("apps", "list", 202),
        ];
        assert_eq!(
            api_requests_line(&requests).as_deref(),
            Some("API requests: 412 (infra 210, apps 202)")
        );
        assert_eq!(api_requests_line(&[]), None);
    }
}
