//! Policies read, mutated by faults and decided, without a lab.

use super::{
    cilium::{self, Reading},
    decide::{Decision, Flow, NodeRules, RuleSet},
    mutation::mutated,
    rule::PolicyKind,
};
use crate::fault::Fault;
use meshproof_datapath::{Direction, DropReason, Identity, Protocol};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, sync::Arc};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// What the rules say about a flow from the outside to a health endpoint, which has a reserved identity and so needs no
/// lab for its labels.
fn decided(spec: Value, faults: &[Fault], flow: Flow) -> Decision {
    let reading = Reading {
        cluster: "infra".to_owned(),
        local_by_default: false,
        refuses_blocks: false,
        proxy: true,
    };
    let mut object = json!({"metadata": {"name": "a", "uid": "1"}, "spec": spec});
    object["spec"]["endpointSelector"] = json!({"matchLabels": {"reserved:health": ""}});
    let rules = cilium::read(PolicyKind::Clusterwide, &object, &reading).expect("the policy is valid");
    let set = RuleSet {
        rules: rules.into_iter().map(Arc::new).collect(),
        cluster: "infra".to_owned(),
        authenticates: true,
        leak: 0.0,
        ..RuleSet::default()
    };
    NodeRules::new(mutated(set, faults), Arc::default(), Box::new(|_| None)).decide(&flow)
}

fn flow(protocol: Protocol, port: u16) -> Flow {
    Flow {
        direction: Direction::Ingress,
        endpoint: Ipv4Addr::new(10, 244, 1, 9),
        endpoint_identity: Identity(4),
        remote: ADDRESS,
        remote_identity: Identity::WORLD,
        protocol,
        port,
        icmp: (protocol == Protocol::Icmp).then_some((8, 0)),
    }
}

const DENIED: Decision = Decision::Deny(DropReason::PolicyDenied);

#[test]
fn empty_sections_and_empty_lists_mean_what_the_documentation_says() {
    let tcp = flow(Protocol::Tcp, 80);
    for (ingress, expected) in [
        (json!([{}]), DENIED),
        (json!([{"fromEntities": []}]), DENIED),
        (json!([{"fromEndpoints": [{}]}]), DENIED),
        (json!([{"fromEntities": ["all"]}]), Decision::Allow),
        (json!([{"toPorts": [{"ports": [{"port": "80"}]}]}]), Decision::Allow),
        (json!([{"toPorts": [{"ports": [{"port": "81"}]}]}]), DENIED),
        (
            json!([{"toPorts": [{"ports": [{"port": "79", "endPort": 81, "protocol": "TCP"}]}]}]),
            Decision::Allow,
        ),
        (json!([{"fromCIDR": ["198.51.100.0/24"]}]), Decision::Allow),
        (
            json!([{"fromCIDRSet": [{"cidr": "198.51.100.0/24", "except": ["198.51.100.7/32"]}]}]),
            DENIED,
        ),
        (json!([{"fromEntities": ["cluster"]}]), DENIED),
    ] {
        assert_eq!(decided(json!({"ingress": ingress}), &[], tcp), expected, "{ingress}");
    }
    let ports = json!([{"toPorts": [{"ports": [{"port": "0", "protocol": "ANY"}]}]}]);
    assert_eq!(
        decided(json!({"ingress": ports}), &[], flow(Protocol::Icmp, 0)),
        DENIED,
        "ports are not for ICMP"
    );
    let icmps = json!([{"icmps": [{"fields": [{"type": "EchoRequest"}]}]}]);
    assert_eq!(
        decided(json!({"ingress": icmps}), &[], flow(Protocol::Icmp, 0)),
        Decision::Allow
    );
    assert_eq!(decided(json!({"ingress": icmps}), &[], tcp), DENIED);
}

#[test]
fn denied_is_denied_and_the_host_always_enters() {
    let tcp = flow(Protocol::Tcp, 80);
    let deny = json!({"ingress": [{"fromEntities": ["all"]}], "ingressDeny": [{"fromEntities": ["world"]}]});
    assert_eq!(decided(deny.clone(), &[], tcp), Decision::Deny(DropReason::PolicyDeny));
    assert_eq!(decided(deny, &[Fault::PolicyDenyIgnored], tcp), Decision::Allow);
    let host = Flow {
        remote_identity: Identity::HOST,
        ..tcp
    };
    assert_eq!(decided(json!({"ingress": [{}]}), &[], host), Decision::Allow);
    let out = Flow {
        direction: Direction::Egress,
        ..tcp
    };
    assert_eq!(
        decided(json!({"ingress": [{}]}), &[], out),
        Decision::Allow,
        "egress has no rule"
    );
    let open = json!({"ingress": [{}], "enableDefaultDeny": {"ingress": false}});
    assert_eq!(decided(open, &[], tcp), Decision::Allow);
}

#[test]
fn faults_change_what_they_allow() {
    let tcp = flow(Protocol::Tcp, 80);
    let port =
        |port: &str| json!([{"fromEntities": ["world"], "toPorts": [{"ports": [{"port": port, "protocol": "TCP"}]}]}]);
    for (ingress, fault, healthy, mutated_decision) in [
        (port("80"), Fault::PolicyOverEnforced, Decision::Allow, DENIED),
        (port("80"), Fault::PolicyEntitiesIgnored, Decision::Allow, DENIED),
        (port("81"), Fault::PolicyPortIgnored, DENIED, Decision::Allow),
        (port("81"), Fault::PolicyIngressIgnored, DENIED, Decision::Allow),
        (port("81"), Fault::PolicyDefaultDenyMissing, DENIED, Decision::Allow),
        (port("81"), Fault::PolicyNotEnforcedOnOneNode, DENIED, Decision::Allow),
        (port("81"), Fault::PolicyCcnpIgnored, DENIED, Decision::Allow),
        (
            json!([{"fromCIDRSet": [{"cidr": "203.0.113.0/24"}]}]),
            Fault::PolicyCidrMatchesPods,
            DENIED,
            Decision::Allow,
        ),
        (
            json!([{"fromEntities": ["all"], "authentication": {"mode": "test-always-fail"}}]),
            Fault::PolicyAuthIgnored,
            Decision::Deny(DropReason::AuthRequired),
            Decision::Allow,
        ),
    ] {
        assert_eq!(decided(json!({"ingress": ingress}), &[], tcp), healthy, "{ingress}");
        assert_eq!(
            decided(json!({"ingress": ingress}), &[fault], tcp),
            mutated_decision,
            "{fault:?}: {ingress}"
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_ciliums_words() {
    let reading = Reading {
        cluster: "infra".to_owned(),
        local_by_default: false,
        refuses_blocks: false,
        proxy: false,
    };
    let http =
        json!([{"toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}], "rules": {"http": [{"method": "GET"}]}}]}]);
    for (rest, why) in [
        (
            json!({"ingress": []}),
            "rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny",
        ),
        (
            json!({"ingress": http}),
            "L7 policy is not supported since L7 proxy is not enabled",
        ),
        (
            json!({"ingress": [{"fromEndpoints": [{}], "fromCIDR": ["1.2.3.4/32"]}]}),
            "Combining FromEndpoints and FromCIDR is not supported yet",
        ),
        (
            json!({"ingress": [{"fromCIDR": ["here"]}]}),
            "unable to parse CIDR: \"here\"",
        ),
    ] {
        let mut spec = rest.clone();
        spec["endpointSelector"] = json!({});
        let object = json!({"metadata": {"name": "a", "namespace": "test"}, "spec": spec});
        assert_eq!(
            cilium::read(PolicyKind::Namespaced, &object, &reading),
            Err(why.to_owned()),
            "{rest}"
        );
    }
}
