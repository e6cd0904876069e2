//! NetworkPolicy, and objects that are refused.

use super::*;

#[test]
fn kubernetes_policies_isolate_by_their_types_and_empty_means_all() {
    let metadata = json!({"namespace": "demo", "name": "n"});
    let np = |spec: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec,
        })
    };
    let flow = tcp(pod("client"), pod("echo"), 80);
    let check = |spec: Value, flow: &Flow| expected_with(UP_TO_1_18, &[np(spec)], flow);
    assert_eq!(
        check(json!({"podSelector": {}}), &flow),
        Expected::Dropped,
        "ingress is isolated by default"
    );
    assert_eq!(
        check(json!({"podSelector": {}, "policyTypes": ["Egress"]}), &flow),
        Expected::Dropped
    );
    assert_eq!(
        check(json!({"podSelector": {}, "ingress": [{}]}), &flow),
        Expected::Allowed,
        "an empty rule allows all"
    );
    assert_eq!(
        check(json!({"podSelector": {}, "ingress": [{"from": []}]}), &flow),
        Expected::Allowed,
        "an empty list means all"
    );
    let by_namespace = json!({"podSelector": {}, "ingress": [{"from": [{
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "demo"}},
        "podSelector": {"matchLabels": {"app": "client"}},
    }]}]});
    assert_eq!(check(by_namespace.clone(), &flow), Expected::Allowed);
    assert_eq!(
        check(by_namespace, &tcp(pod_in("infra", "x", "client"), pod("echo"), 80)),
        Expected::Dropped
    );
}

#[test]
fn what_is_not_understood_is_an_error() {
    for spec in [
        json!({"endpointSelector": {}, "ingres": []}),
        json!({"endpointSelector": {}, "ingress": [{"fromEndpoint": [{}]}]}),
        json!({"endpointSelector": {}, "ingress": [{"fromEndpoints": [{}], "fromEntities": ["all"]}]}),
        json!({"endpointSelector": {}, "egress": [{"toServices": [{"k8sService": {"serviceName": "x"}}]}]}),
        json!({"endpointSelector": {}, "ingress": [{"fromEntities": ["everyone"]}]}),
        json!({"ingress": [{}]}),
    ] {
        assert!(parse(&cnp(spec.clone()), "infra").is_err(), "{spec} was read");
    }
}
