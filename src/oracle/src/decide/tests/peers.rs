//! Whom selectors, entities and address ranges match.

use super::*;

#[test]
fn the_recorded_policy_admits_the_client_on_its_port_only() {
    let spec = echo(json!([{
        "fromEndpoints": [{"matchLabels": {"app": "client"}}],
        "toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]
    }]));
    assert_eq!(
        expected(spec.clone(), &tcp(pod("client"), pod("echo"), 8080)),
        Expected::Allowed
    );
    assert_eq!(
        expected(spec.clone(), &tcp(pod("client"), pod("echo"), 8081)),
        Expected::Dropped
    );
    assert_eq!(
        expected(spec.clone(), &tcp(pod("other"), pod("echo"), 8080)),
        Expected::Dropped
    );
    assert_eq!(
        expected(spec, &tcp(pod("other"), pod("client"), 8080)),
        Expected::Allowed
    );
}

#[test]
fn a_cluster_wide_policy_with_an_empty_selector_means_every_pod() {
    let object = json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": {"name": "c"},
        "spec": echo(json!([{"fromEndpoints": [{}]}])),
    });
    let foreign = tcp(pod_in("infra", "other", "client"), pod("echo"), 80);
    assert_eq!(
        expected_with(UP_TO_1_18, std::slice::from_ref(&object), &foreign),
        Expected::Allowed
    );
    assert_eq!(
        expected_with(UP_TO_1_18, &[object], &tcp(world("198.51.100.1", ""), pod("echo"), 80)),
        Expected::Dropped
    );
}

#[test]
fn a_selector_without_a_cluster_changed_its_meaning_in_1_19() {
    let spec = cnp(echo(json!([{"fromEndpoints": [{"matchLabels": {"app": "client"}}]}])));
    let remote = tcp(pod_in("apps", "demo", "client"), pod("echo"), 80);
    assert_eq!(
        expected_with(UP_TO_1_18, std::slice::from_ref(&spec), &remote),
        Expected::Allowed
    );
    assert_eq!(expected_with(SINCE_1_19, &[spec], &remote), Expected::Dropped);
    let named = cnp(echo(
        json!([{"fromEndpoints": [{"matchLabels": {"app": "client", "io.cilium.k8s.policy.cluster": "apps"}}]}]),
    ));
    assert_eq!(
        expected_with(SINCE_1_19, std::slice::from_ref(&named), &remote),
        Expected::Allowed
    );
    assert_eq!(
        expected_with(UP_TO_1_18, &[named], &tcp(pod("client"), pod("echo"), 80)),
        Expected::Dropped
    );
}

#[test]
fn a_policy_acts_on_its_own_cluster_only() {
    let spec = cnp(echo(json!([{}])));
    let remote = tcp(pod("client"), pod_in("apps", "demo", "echo"), 80);
    assert_eq!(expected_with(UP_TO_1_18, &[spec], &remote), Expected::Allowed);
}

#[test]
fn entities_and_cidrs_match_different_parties() {
    let from = |rule: Value| echo(json!([rule]));
    let outside = tcp(world("198.51.100.7", ""), pod("echo"), 80);
    assert_eq!(
        expected(from(json!({"fromEntities": ["world"]})), &outside),
        Expected::Allowed
    );
    assert_eq!(
        expected(from(json!({"fromEntities": ["cluster"]})), &outside),
        Expected::Dropped
    );
    assert_eq!(
        expected(
            from(json!({"fromEntities": ["cluster"]})),
            &tcp(pod("client"), pod("echo"), 80)
        ),
        Expected::Allowed
    );
    let remote = tcp(pod_in("apps", "demo", "client"), pod("echo"), 80);
    assert_eq!(
        expected(from(json!({"fromEntities": ["cluster"]})), &remote),
        Expected::Dropped
    );
    let set = json!({"fromCIDRSet": [{"cidr": "198.51.100.0/24", "except": ["198.51.100.7/32"]}]});
    assert_eq!(expected(from(set.clone()), &outside), Expected::Dropped);
    assert_eq!(
        expected(from(set), &tcp(world("198.51.100.8", ""), pod("echo"), 80)),
        Expected::Allowed
    );
    assert_eq!(
        expected(
            from(json!({"fromCIDR": ["0.0.0.0/0"]})),
            &tcp(pod("client"), pod("echo"), 80)
        ),
        Expected::Dropped
    );
    assert_eq!(
        expected(
            from(json!({"fromEntities": ["remote-node"]})),
            &tcp(node("infra-2"), pod("echo"), 80)
        ),
        Expected::Allowed
    );
    assert_eq!(
        expected(
            from(json!({"fromEntities": ["host"]})),
            &tcp(node("infra-2"), pod("echo"), 80)
        ),
        Expected::Dropped
    );
    assert_eq!(
        expected(from(json!({})), &tcp(node("infra-1"), pod("echo"), 80)),
        Expected::Allowed,
        "the kubelet may always probe"
    );
}

#[test]
fn a_policy_selects_pods_of_its_cluster_with_its_labels() {
    let selects = |endpoint: Party| {
        let object = cnp(json!({"endpointSelector": {"matchLabels": {"app": "a"}}, "ingress": [{}]}));
        let policies = parse(&object, "infra").expect("a valid policy");
        let Party::Endpoint(endpoint) = endpoint else {
            return false;
        };
        policies[0].selects(&endpoint)
    };
    assert!(selects(pod("a")));
    assert!(!selects(pod("b")));
    assert!(!selects(pod_in("apps", "demo", "a")));
}
