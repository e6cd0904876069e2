//! The rules of the documentation, and the recorded behaviour of 1.18.3, one by one.

use super::*;
use crate::{parse, subject::Request};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const UP_TO_1_18: Semantics = Semantics {
    unnamed_cluster: UnnamedCluster::Any,
    cidr_matches_nodes: CidrMatch::WorldOnly,
    dns_refusal: DnsRefusal::Refused,
    egress_denial: EgressDenial::Silent,
};
const SINCE_1_19: Semantics = Semantics {
    unnamed_cluster: UnnamedCluster::Local,
    ..UP_TO_1_18
};

fn pod_in(cluster: &str, namespace: &str, app: &str) -> Party {
    Party::Endpoint(Endpoint {
        cluster: cluster.into(),
        namespace: namespace.into(),
        namespace_labels: BTreeMap::from([("kubernetes.io/metadata.name".into(), namespace.into())]),
        service_account: "default".into(),
        labels: BTreeMap::from([("app".into(), app.into())]),
        node: format!("{cluster}-1"),
        named_ports: BTreeMap::from([("web".into(), 8080)]),
    })
}

fn pod(app: &str) -> Party {
    pod_in("infra", "demo", app)
}

fn world(address: &str, name: &str) -> Party {
    Party::World {
        address: address.parse().expect("an address"),
        names: vec![name.into()],
    }
}

fn node(name: &str) -> Party {
    Party::Node {
        cluster: "infra".into(),
        name: name.into(),
        address: "10.25.11.11".parse().expect("an address"),
        serves_api: false,
    }
}

fn tcp(from: Party, to: Party, port: u16) -> Flow {
    Flow {
        from,
        to,
        protocol: Protocol::Tcp,
        port,
        request: Request::Opaque,
    }
}

fn cnp(spec: Value) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": {"namespace": "demo", "name": "p"}, "spec": spec})
}

fn expected_with(semantics: Semantics, objects: &[Value], flow: &Flow) -> Expected {
    let policies: Vec<_> = objects
        .iter()
        .flat_map(|o| parse(o, "infra").expect("a valid policy"))
        .collect();
    decide(&policies, &semantics, flow).expected
}

fn expected(spec: Value, flow: &Flow) -> Expected {
    expected_with(UP_TO_1_18, &[cnp(spec)], flow)
}

fn echo(rules: Value) -> Value {
    json!({"endpointSelector": {"matchLabels": {"app": "echo"}}, "ingress": rules})
}

#[test]
fn without_policies_everything_passes() {
    assert_eq!(
        expected_with(UP_TO_1_18, &[], &tcp(pod("a"), pod("b"), 80)),
        Expected::Allowed
    );
}

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
fn the_classic_misreadings_of_emptiness() {
    let from_client = tcp(pod("client"), pod("echo"), 80);
    assert_eq!(
        expected(echo(json!([])), &from_client),
        Expected::Allowed,
        "an empty list selects nothing into default deny"
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
    let stranger = tcp(pod_in("infra", "elsewhere", "client"), pod("echo"), 80);
    assert_eq!(
        expected(echo(json!([{"fromEndpoints": [{}]}])), &stranger),
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
fn a_cluster_wide_policy_with_an_empty_selector_means_every_pod() {
    let object = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy", "metadata": {"name": "c"},
        "spec": echo(json!([{"fromEndpoints": [{}]}]))});
    let stranger = tcp(pod_in("infra", "elsewhere", "client"), pod("echo"), 80);
    assert_eq!(
        expected_with(UP_TO_1_18, std::slice::from_ref(&object), &stranger),
        Expected::Allowed
    );
    assert_eq!(
        expected_with(UP_TO_1_18, &[object], &tcp(world("198.51.100.1", ""), pod("echo"), 80)),
        Expected::Dropped
    );
}

#[test]
fn a_selector_that_names_no_cluster_changed_its_meaning_in_1_19() {
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
    let elsewhere = tcp(pod("client"), pod_in("apps", "demo", "echo"), 80);
    assert_eq!(expected_with(UP_TO_1_18, &[spec], &elsewhere), Expected::Allowed);
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
fn entities_and_cidrs_are_about_different_parties() {
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
fn ports_ranges_names_and_protocols() {
    let on = |port: Value| json!([{"toPorts": [{"ports": [port]}]}]);
    let check = |port: Value, number: u16| expected(echo(on(port)), &tcp(pod("client"), pod("echo"), number));
    assert_eq!(check(json!({"port": "8000", "endPort": 8100}), 8080), Expected::Allowed);
    assert_eq!(check(json!({"port": "8000", "endPort": 8100}), 8101), Expected::Dropped);
    assert_eq!(check(json!({"port": "web"}), 8080), Expected::Allowed);
    assert_eq!(check(json!({"port": "web"}), 8081), Expected::Dropped);
    assert_eq!(
        check(json!({"port": "8080", "protocol": "UDP"}), 8080),
        Expected::Dropped
    );
    let ping = Flow {
        protocol: Protocol::Icmp,
        port: 8,
        ..tcp(pod("client"), pod("echo"), 0)
    };
    assert_eq!(
        expected(echo(on(json!({"port": "0", "protocol": "ANY"}))), &ping),
        Expected::Dropped
    );
    assert_eq!(
        expected(echo(json!([{"icmps": [{"fields": [{"type": 8}]}]}])), &ping),
        Expected::Allowed
    );
}

#[test]
fn http_rules_answer_403_and_are_alternatives() {
    let rules =
        |http: Value| json!([{"toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": http}}]}]);
    let request = |method: &str, path: &str| Flow {
        request: Request::Http(HttpRequest {
            method: method.into(),
            path: path.into(),
            host: "echo".into(),
            headers: vec![("x-token".into(), "yes".into())],
        }),
        ..tcp(pod("client"), pod("echo"), 8080)
    };
    let spec = echo(rules(
        json!([{"method": "GET", "path": "/public.*"}, {"path": "/secret", "headers": ["X-Token: yes"]}]),
    ));
    assert_eq!(expected(spec.clone(), &request("GET", "/public/a")), Expected::Allowed);
    assert_eq!(
        expected(spec.clone(), &request("POST", "/public/a")),
        Expected::Forbidden
    );
    assert_eq!(
        expected(spec.clone(), &request("GET", "/not/public")),
        Expected::Forbidden,
        "a path expression is anchored"
    );
    assert_eq!(expected(spec.clone(), &request("GET", "/secret")), Expected::Allowed);
    let open = cnp(echo(json!([{"toPorts": [{"ports": [{"port": "8080"}]}]}])));
    assert_eq!(
        expected_with(UP_TO_1_18, &[cnp(spec), open], &request("POST", "/x")),
        Expected::Allowed
    );
}

#[test]
fn names_are_allowed_by_fqdn_rules_and_refused_by_dns_rules() {
    let spec = json!({"endpointSelector": {"matchLabels": {"app": "fqdn"}}, "egress": [
        {"toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system"}}],
         "toPorts": [{"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*.outside.example"}]}}]},
        {"toFQDNs": [{"matchName": "one.outside.example"}], "toPorts": [{"ports": [{"port": "80"}]}]}]});
    let ask = |name: &str| Flow {
        protocol: Protocol::Udp,
        request: Request::Dns(name.into()),
        ..tcp(pod("fqdn"), pod_in("infra", "kube-system", "dns"), 53)
    };
    assert_eq!(expected(spec.clone(), &ask("two.outside.example")), Expected::Allowed);
    assert_eq!(expected(spec.clone(), &ask("other.example")), Expected::DnsRefused);
    let told = Semantics {
        dns_refusal: DnsRefusal::NameError,
        ..UP_TO_1_18
    };
    assert_eq!(
        expected_with(told, &[cnp(spec.clone())], &ask("other.example")),
        Expected::DnsNameError
    );
    assert_eq!(
        expected(
            spec.clone(),
            &tcp(pod("fqdn"), world("198.51.100.10", "one.outside.example"), 80)
        ),
        Expected::Allowed
    );
    assert_eq!(
        expected(
            spec.clone(),
            &tcp(pod("fqdn"), world("198.51.100.11", "two.outside.example"), 80)
        ),
        Expected::Dropped
    );
    assert_eq!(
        expected(
            spec,
            &tcp(pod("fqdn"), world("198.51.100.10", "one.outside.example"), 8080)
        ),
        Expected::Dropped
    );
}

#[test]
fn authentication_modes() {
    let spec = |mode: &str| echo(json!([{"fromEndpoints": [{}], "authentication": {"mode": mode}}]));
    let flow = tcp(pod("client"), pod("echo"), 80);
    assert_eq!(expected(spec("required"), &flow), Expected::AllowedIfAuthenticated);
    assert_eq!(expected(spec("test-always-fail"), &flow), Expected::Dropped);
    assert_eq!(expected(spec("disabled"), &flow), Expected::Allowed);
}

#[test]
fn kubernetes_policies_isolate_by_their_types_and_empty_means_all() {
    let np = |spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "demo", "name": "n"}, "spec": spec});
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
    let by_namespace = json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "demo"}}, "podSelector": {"matchLabels": {"app": "client"}}}]}]});
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
        json!({"endpointSelector": {}, "egress": [{"toServices": []}]}),
        json!({"endpointSelector": {}, "ingress": [{"fromEntities": ["everyone"]}]}),
        json!({"ingress": [{}]}),
    ] {
        assert!(parse(&cnp(spec.clone()), "infra").is_err(), "{spec} was read");
    }
}

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

#[test]
fn only_the_pod_whose_own_traffic_is_denied_may_be_told() {
    let told = Semantics {
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
        assert_eq!(expected_with(told, policy, &leaving), Expected::Unreachable);
        assert_eq!(expected_with(SINCE_1_19, policy, &leaving), Expected::Dropped);
    }
    assert_eq!(expected_with(told, &[into], &coming), Expected::Dropped);
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
