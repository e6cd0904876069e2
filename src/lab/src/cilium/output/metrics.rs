//! `cilium-dbg metrics list -o json`: those metrics to which the lab can give true values. Zero values are left out.

use super::{
    super::view::{AgentView, RemotePhase},
    flow::reason_text,
};
use meshproof_datapath::Direction;
use serde_json::{Map, Value, json};

/// The metrics.
pub fn list(view: &AgentView) -> Value {
    let mut all = Vec::new();
    let mut add = |name: &str, labels: &[(&str, &str)], value: f64| {
        let mut metric = json!({"name": name});
        if !labels.is_empty() {
            let labels: Map<String, Value> = labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), json!(value)))
                .collect();
            metric["labels"] = Value::Object(labels);
        }
        if value != 0.0 {
            metric["value"] = if value.fract() == 0.0 {
                json!(value as i64)
            } else {
                json!(value)
            };
        }
        all.push(metric);
    };
    add("cilium_clustermesh_global_services", &[], view.global_services as f64);
    add("cilium_clustermesh_remote_clusters", &[], view.remotes.len() as f64);
    for remote in &view.remotes {
        let labels = [("target_cluster", remote.name.as_str())];
        let ready = matches!(remote.phase, RemotePhase::Ready { .. });
        let last = remote
            .last_failure
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        add(
            "cilium_clustermesh_remote_cluster_readiness_status",
            &labels,
            f64::from(u8::from(ready)),
        );
        add(
            "cilium_clustermesh_remote_cluster_nodes",
            &labels,
            remote.counts.nodes as f64,
        );
        add(
            "cilium_clustermesh_remote_cluster_failures",
            &labels,
            remote.failures as f64,
        );
        add(
            "cilium_clustermesh_remote_cluster_last_failure_ts",
            &labels,
            last.map_or(0.0, |at| at.as_secs_f64()),
        );
    }
    for ((reason, direction), count) in &view.counters.dropped {
        let labels = [
            ("direction", direction_text(*direction)),
            ("reason", reason_text(*reason)),
        ];
        add("cilium_drop_count_total", &labels, *count as f64);
    }
    for (direction, count) in &view.counters.forwarded {
        add(
            "cilium_forward_count_total",
            &[("direction", direction_text(*direction))],
            *count as f64,
        );
    }
    for (direction, count) in &view.counters.forwarded_bytes {
        add(
            "cilium_forward_bytes_total",
            &[("direction", direction_text(*direction))],
            *count as f64,
        );
    }
    add(
        "cilium_identity",
        &[("type", "cluster_local")],
        view.identities.iter().filter(|(id, _)| *id >= 256).count() as f64,
    );
    let unreachable = view
        .health
        .nodes
        .iter()
        .filter(|node| !node.host.is_reachable())
        .count();
    add("cilium_unreachable_nodes", &[], unreachable as f64);
    add("cilium_policy_max_revision", &[], view.policy.revision as f64);
    all.into()
}

fn direction_text(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "INGRESS",
        Direction::Egress => "EGRESS",
    }
}

/// As text.
pub fn text(list: &Value) -> String {
    let mut text = format!("{:<60} {:<70} {}\n", "Metric", "Labels", "Value");
    for metric in list.as_array().into_iter().flatten() {
        let labels = metric["labels"].as_object().into_iter().flatten();
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let value = metric["value"].as_f64().unwrap_or_default();
        text.push_str(&format!(
            "{:<60} {:<70} {value:.6}\n",
            metric["name"].as_str().unwrap_or_default(),
            labels.join(" ")
        ));
    }
    text
}
