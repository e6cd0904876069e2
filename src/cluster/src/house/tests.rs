//! Policies of houses, judged for a probe pod and a pod that policies are tested on.

use super::*;

fn pod(allowance: Allowance) -> ProbePod {
    let labels = [
        (NAMESPACE, "meshproof"),
        ("meshproof.dev/workload", "client"),
        (MANAGED_BY, MANAGED_BY_VALUE),
    ];
    ProbePod {
        namespace: "meshproof".to_owned(),
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        allowance,
    }
}

fn judged(policy: &Value, allowed: &Allowed) -> Option<(Barred, String)> {
    judge(policy, &[pod(Allowance::Everything), pod(Allowance::Nothing)], allowed)
}

fn cluster_wide(spec: Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy",
        "metadata": {"name": "baseline"}, "spec": spec,
    })
}

#[test]
fn a_default_deny_bars_only_the_subjects_while_the_allow_policies_are_there() {
    let baseline = cluster_wide(json!({
        "endpointSelector": {}, "ingress": [{}], "egress": [{"toEntities": ["kube-apiserver"]}],
    }));
    let (bars, effect) = judged(&baseline, &Allowed::Yes).expect("it closes the subjects");
    assert_eq!(bars, Barred::Subjects);
    assert!(effect.contains("denies by default"), "{effect}");
    let (bars, effect) = judged(&baseline, &Allowed::No("refused".to_owned())).expect("it closes all");
    assert_eq!(bars, Barred::Probes);
    assert!(effect.ends_with("are absent: refused"), "{effect}");
    let elsewhere = cluster_wide(json!({
        "endpointSelector": {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "shop"}}, "ingress": [{}],
    }));
    assert_eq!(judged(&elsewhere, &Allowed::Yes), None);
    let kubernetes = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": "meshproof"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    });
    assert_eq!(
        judged(&kubernetes, &Allowed::Yes).map(|(bars, _)| bars),
        Some(Barred::Subjects)
    );
}

#[test]
fn a_deny_bars_probes_where_it_names_their_peers_and_ports() {
    let denying = |rule: Value| {
        let spec = json!({"endpointSelector": {}, "enableDefaultDeny": {"egress": false}, "egressDeny": [rule]});
        judged(&cluster_wide(spec), &Allowed::Yes).map(|(bars, _)| bars)
    };
    let port = |port: &str| json!([{"ports": [{"port": port, "protocol": "TCP"}]}]);
    assert_eq!(denying(json!({"toEntities": ["cluster"]})), Some(Barred::Probes));
    assert_eq!(denying(json!({"toPorts": port("8080")})), Some(Barred::Probes));
    assert_eq!(
        denying(json!({"toPorts": [{"ports": [{"port": "8000", "endPort": 9000}]}]})),
        Some(Barred::Probes)
    );
    let own = json!({"matchLabels": {NAMESPACE: "meshproof"}});
    assert_eq!(denying(json!({"toEndpoints": [own]})), Some(Barred::Probes));
    // The metadata service of clouds, and ports of others.
    assert_eq!(denying(json!({"toCIDR": ["169.254.169.254/32"]})), None);
    assert_eq!(denying(json!({"toPorts": port("25")})), None);
    assert_eq!(denying(json!({"toEntities": ["world"]})), None);
    assert_eq!(
        denying(json!({"toEndpoints": [{"matchLabels": {NAMESPACE: "shop"}}]})),
        None
    );
    assert_eq!(denying(json!({})), None);
}

#[test]
fn policies_of_nodes_and_our_own_act_on_no_probe() {
    let nodes = cluster_wide(json!({"nodeSelector": {}, "ingressDeny": [{"fromEntities": ["all"]}]}));
    assert_eq!(judged(&nodes, &Allowed::Yes), None);
    let mut own = cluster_wide(json!({"endpointSelector": {}, "ingress": [{}]}));
    assert!(is_foreign(&own));
    own["metadata"]["labels"][MANAGED_BY] = json!(MANAGED_BY_VALUE);
    assert!(!is_foreign(&own));
}
