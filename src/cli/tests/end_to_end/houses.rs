//! Clusters whose houses have rules: default denies, modes of enforcement, quotas. What meshproof can live with leaves
//! a run green, and what it cannot is one statement that names the rule.

use crate::{
    Result,
    clusters::{CONTEXTS, Clusters},
};
use serde_json::{Value, json};

type Test = fn(&Clusters) -> Result<()>;

pub const ALL: &[(&str, Test)] = &[
    ("a_default_deny_of_the_cluster_leaves_runs_green", default_deny),
    ("enable_policy_always_leaves_runs_green", always),
    ("a_deny_of_the_house_is_named_and_nothing_else_is_blamed", explicit_deny),
    ("quotas_and_limit_ranges_are_met_or_named", quotas),
    ("a_virtual_node_is_left_out_and_said_once", virtual_node),
];

/// Something of everything that a default deny closes.
const EVERYTHING: [&str; 8] = [
    "connectivity::http_other_cluster",
    "connectivity::udp_other_node",
    "connectivity::pod_to_other_cluster_host",
    "dns::service_name",
    "service::global_spread",
    "encryption::pod_traffic",
    "policy::labels",
    "policy::default_deny_egress",
];

fn cluster_wide(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": name}, "spec": spec,
    })
}

/// What is not the cluster's own is denied unless a policy allows it.
fn baseline() -> Value {
    let others = json!({"key": "k8s:io.kubernetes.pod.namespace", "operator": "NotIn", "values": ["kube-system"]});
    cluster_wide(
        "baseline",
        json!({"endpointSelector": {"matchExpressions": [others]}, "ingress": [{}], "egress": [{}]}),
    )
}

/// Objects in both clusters as long as `f` runs.
fn with(clusters: &Clusters, objects: &[Value], f: impl FnOnce() -> Result<()>) -> Result<()> {
    for context in CONTEXTS {
        for object in objects {
            clusters.apply(context, object)?;
        }
    }
    let result = f();
    for context in CONTEXTS {
        for object in objects.iter().rev() {
            clusters.remove(context, object)?;
        }
    }
    result
}

fn run_exactly(clusters: &Clusters, checks: &[&str]) -> Result<crate::command::Ended> {
    let mut words = vec!["--exact", "--format", "quiet"];
    words.extend(checks);
    clusters.meshproof()?.run(&words)
}

fn default_deny(clusters: &Clusters) -> Result<()> {
    with(clusters, &[baseline()], || {
        run_exactly(clusters, &EVERYTHING)?.with(0).map(drop)
    })
}

fn always(clusters: &Clusters) -> Result<()> {
    let mode = |mode: &str| -> Result<()> {
        for context in CONTEXTS {
            let config = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "cilium-config", "namespace": "kube-system"}, "data": {"enable-policy": mode},
            });
            clusters.apply(context, &config)?;
        }
        Ok(())
    };
    // A house in this mode allows what its own pods need.
    let system = cluster_wide(
        "system",
        json!({
            "endpointSelector": {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system"}},
            "ingress": [{"fromEntities": ["all"]}], "egress": [{"toEntities": ["all"]}],
        }),
    );
    mode("always")?;
    let result = with(clusters, &[system], || {
        run_exactly(clusters, &EVERYTHING)?.with(0).map(drop)
    });
    mode("default")?;
    result
}

fn explicit_deny(clusters: &Clusters) -> Result<()> {
    let deny = cluster_wide(
        "no-web",
        json!({
            "endpointSelector": {}, "enableDefaultDeny": {"ingress": false, "egress": false},
            "egressDeny": [{"toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}],
        }),
    );
    let checks = [
        "connectivity::http_other_cluster",
        "connectivity::udp_other_node",
        "policy::labels",
    ];
    with(clusters, &[deny], || {
        let ended = run_exactly(clusters, &checks)?.with(3)?;
        let ended = ended.printing("CiliumClusterwideNetworkPolicy no-web in infra denies traffic of the probes")?;
        match ended.out.contains("vanish") {
            true => Err(format!("the network is blamed:\n{}", ended.out)),
            false => Ok(()),
        }
    })
}

fn quotas(clusters: &Clusters) -> Result<()> {
    let object = |kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "meshproof"}, "spec": spec,
        })
    };
    // Namespaces that an administrator made for meshproof, with the house's rules in them.
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "meshproof", "labels": {"app.kubernetes.io/managed-by": "meshproof"}},
    });
    let range = object(
        "LimitRange",
        "house",
        json!({"limits": [{"type": "Container", "max": {"cpu": "1", "memory": "256Mi"}}]}),
    );
    let quota = |hard: Value| object("ResourceQuota", "house", json!({"hard": hard}));
    let demanding = quota(json!({"limits.cpu": "40", "limits.memory": "8Gi", "services.nodeports": "0"}));
    let checks = ["connectivity::http_other_cluster", "service::node_port"];
    with(clusters, &[namespace.clone(), range, demanding], || {
        let ended = run_exactly(clusters, &checks)?.with(3)?;
        // The Service of type NodePort is refused alone, and by name.
        ended
            .printing("exceeded quota: house")?
            .printing("2 passed, 2 inconclusive")
            .map(drop)
    })?;
    with(clusters, &[namespace, quota(json!({"pods": "1"}))], || {
        let ended = run_exactly(clusters, &["connectivity::http_other_cluster"])?.with(3)?;
        ended
            .printing("ResourceQuota meshproof/house admits no more pods")
            .map(drop)
    })
}

fn virtual_node(clusters: &Clusters) -> Result<()> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "liqo-far", "labels": {"liqo.io/type": "virtual-node"}},
        "spec": {"taints": [{"key": "virtual-node.liqo.io/not-allowed", "value": "true", "effect": "NoExecute"}]},
    });
    let checks = [
        "state::nodes",
        "mesh::agents_ready",
        "connectivity::http_other_node",
        "encryption::handshakes_fresh",
        "encryption::pod_traffic",
        "policy::labels",
    ];
    with(clusters, &[node], || {
        let mut words = vec!["--exact"];
        words.extend(checks);
        let ended = clusters.meshproof()?.run(&words)?.with(0)?;
        ended
            .printing("node liqo-far is left out: it is a virtual node of Liqo")
            .map(drop)
    })
}
