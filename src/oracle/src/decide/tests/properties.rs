//! What holds for every set of rules.

use super::*;
use proptest::prelude::*;

fn any_rule() -> impl Strategy<Value = Value> {
    let peer = prop_oneof![
        Just(json!({})),
        Just(json!({"fromEndpoints": [{}]})),
        Just(json!({"fromEndpoints": [{"matchLabels": {"app": "a"}}]})),
        Just(json!({"fromEntities": ["world"]})),
        Just(json!({"fromEntities": ["all"]})),
        Just(json!({"fromCIDR": ["198.51.100.0/24"]})),
    ];
    let ports = prop_oneof![Just(None), (1u16..5).prop_map(Some)];
    (peer, ports).prop_map(|(mut rule, port)| {
        if let Some(port) = port {
            rule["toPorts"] = json!([{"ports": [{"port": port.to_string(), "protocol": "TCP"}]}]);
        }
        rule
    })
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let from = prop_oneof![
        Just(pod("a")),
        Just(pod("b")),
        Just(pod_in("apps", "demo", "a")),
        Just(world("198.51.100.1", ""))
    ];
    (from, 1u16..5).prop_map(|(from, port)| tcp(from, pod("echo"), port))
}

proptest! {
    #[test]
    fn another_allow_rule_never_closes_and_another_deny_rule_never_opens(
        rules in proptest::collection::vec(any_rule(), 1..4), one_more in any_rule(), flow in any_flow()
    ) {
        let before = expected(echo(json!(rules)), &flow);
        let mut more = rules.clone();
        more.push(one_more.clone());
        let allowing = expected(echo(json!(more)), &flow);
        prop_assert!(before != Expected::Allowed || allowing == Expected::Allowed);
        let mut denying = echo(json!(rules));
        denying["ingressDeny"] = json!([one_more]);
        prop_assert!(before == Expected::Allowed || expected(denying, &flow) != Expected::Allowed);
    }

    #[test]
    fn the_order_of_rules_does_not_matter(rules in proptest::collection::vec(any_rule(), 1..5), flow in any_flow()) {
        let mut reversed = rules.clone();
        reversed.reverse();
        prop_assert_eq!(expected(echo(json!(rules)), &flow), expected(echo(json!(reversed)), &flow));
    }
}
