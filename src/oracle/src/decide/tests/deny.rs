//! Default deny, deny rules, and what a denied client sees.

use super::*;

#[test]
fn without_policies_everything_passes() {
    assert_eq!(
        expected_with(UP_TO_1_18, &[], &tcp(pod("a"), pod("b"), 80)),
        Expected::Allowed
    );
}

#[test]
fn the_classic_misreadings_of_emptiness() {
    let from_client = tcp(pod("client"), pod("echo"), 80);
    let mut with_egress = echo(json!([]));
    with_egress["egress"] = json!([{}]);
    assert_eq!(
        expected(with_egress, &from_client),
        Expected::Allowed,
        "an empty list selects nothing into default deny"
    );
    assert!(
        parse(&cnp(echo(json!([]))), "infra").is_err(),
        "and alone it is no policy"
    );
    assert_eq!(
        expected(echo(json!([{}])), &from_client),
        Expected::Dropped,
        "an empty rule allows nobody"
    );
    assert_eq!(
        expected(echo(json!([{"fromEndpoints": []}])), &from_client),
        Expected::Dropped,
        "an empty list of peers is nobody"
    );
    assert_eq!(
        expected(echo(json!([{"fromEndpoints": [{}]}])), &from_client),
        Expected::Allowed,
        "an empty selector is the namespace"
    );
    let foreign = tcp(pod_in("infra", "other", "client"), pod("echo"), 80);
    assert_eq!(
        expected(echo(json!([{"fromEndpoints": [{}]}])), &foreign),
        Expected::Dropped,
        "and only the namespace"
    );
    assert_eq!(
        expected(
            echo(json!([{"toPorts": [{"ports": [{"port": "80"}]}]}])),
            &tcp(world("198.51.100.1", ""), pod("echo"), 80)
        ),
        Expected::Allowed,
        "a rule with ports alone is for everybody"
    );
}

#[test]
fn deny_wins_over_allow_and_alone_sets_default_deny() {
    let both = json!({"endpointSelector": {"matchLabels": {"app": "echo"}},
        "ingress": [{"fromEntities": ["all"]}],
        "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"app": "other"}}]}]});
    assert_eq!(
        expected(both.clone(), &tcp(pod("other"), pod("echo"), 80)),
        Expected::Dropped
    );
    assert_eq!(expected(both, &tcp(pod("client"), pod("echo"), 80)), Expected::Allowed);
    let alone =
        json!({"endpointSelector": {}, "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"app": "other"}}]}]});
    assert_eq!(expected(alone, &tcp(pod("client"), pod("echo"), 80)), Expected::Dropped);
    let without = json!({"endpointSelector": {}, "enableDefaultDeny": {"ingress": false},
        "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"app": "other"}}]}]});
    assert_eq!(
        expected(without.clone(), &tcp(pod("client"), pod("echo"), 80)),
        Expected::Allowed
    );
    assert_eq!(
        expected(without, &tcp(pod("other"), pod("echo"), 80)),
        Expected::Dropped
    );
}

#[test]
fn only_the_pod_whose_own_egress_is_denied_gets_an_icmp_error() {
    let with_icmp = Semantics {
        egress_denial: EgressDenial::Icmp,
        ..SINCE_1_19
    };
    let subject = json!({"matchLabels": {"app": "a"}});
    let out = cnp(json!({"endpointSelector": subject, "egress": [{}]}));
    let denied = cnp(json!({"endpointSelector": subject, "egressDeny": [{"toEntities": ["all"]}]}));
    let into = cnp(json!({"endpointSelector": subject, "ingress": [{}]}));
    let (leaving, coming) = (tcp(pod("a"), pod("b"), 80), tcp(pod("b"), pod("a"), 80));
    for policy in [&out, &denied] {
        let policy = std::slice::from_ref(policy);
        assert_eq!(expected_with(with_icmp, policy, &leaving), Expected::Unreachable);
        assert_eq!(expected_with(SINCE_1_19, policy, &leaving), Expected::Dropped);
    }
    assert_eq!(expected_with(with_icmp, &[into], &coming), Expected::Dropped);
}
