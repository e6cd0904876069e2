//! What a rule says about ports: numbers, ranges, names, protocols, ICMP (docs.cilium.io, "Layer 4 Policies").

use super::{both_ways_and_ping, inbound, outbound};
use crate::{
    kit::object::policy::cilium,
    policy::{
        case::{Case, PolicyCheck},
        fixture::Fixture,
    },
};
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

const CONTROL: &str = "Each cell must be open before the policy and after its deletion, so a server listens on every \
                       port. The port that the rule opens stays open under it, and the others must be silently \
                       dropped, not refused.";
const WHEN_RED: &str = "The finding names the deciding rule. `kubectl --context CONTEXT -n kube-system exec AGENT_POD \
                        -c cilium-agent -- cilium-dbg bpf policy get --all` lists the ports that the data path opens \
                        for the pod.";
const FAULTS: &[&str] = &["policy-port-ignored"];

fn into(fixture: &Fixture, ports: Value) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": fixture.selector(), "ingress": [{"toPorts": [{"ports": ports}]}]}),
    )]
}

/// One port.
pub const PORTS: PolicyCheck = PolicyCheck {
    id: "policy::ports",
    text: CheckText {
        title: "A rule with a port opens that port and no other, with and without labels",
        proves: "Port rules are enforced on ingress and egress. A rule with peers and ports opens these ports to \
                 these peers only.",
        how: "One policy opens a TCP port to everybody, another allows egress to pods of a label on one port, and two \
              with four rules open the same ports to several peers, each some of them. Every cell is probed before, \
              under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: FAULTS,
    cases: &[
        Case {
            name: "one port for everybody",
            policies: |fixture| into(fixture, json!([{"port": "8080", "protocol": "TCP"}])),
            cells: inbound,
        },
        Case {
            name: "egress to a label on one port",
            policies: |fixture| {
                vec![cilium(json!({"endpointSelector": fixture.selector(), "egress": [{
                    "toEndpoints": [{"matchLabels": {"role": "peer"}}],
                    "toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}],
                }]}))]
            },
            cells: outbound,
        },
        Case {
            name: "several rules for one port",
            policies: |fixture| {
                let rule = |peer: Value, ports: Value| json!({"fromEndpoints": [peer], "toPorts": [{"ports": ports}]});
                let labelled = |role: &str| json!({"matchLabels": {"role": role}});
                let policy = |rules: Value| cilium(json!({"endpointSelector": fixture.selector(), "ingress": rules}));
                let tcp = json!({"port": "8081", "protocol": "TCP"});
                vec![
                    policy(json!([
                        {"toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]},
                        rule(labelled("peer"), json!([tcp])),
                        rule(labelled("other-peer"), json!([{"port": "8082", "protocol": "UDP"}])),
                    ])),
                    policy(json!([rule(labelled("other-peer"), json!([tcp]))])),
                ]
            },
            cells: inbound,
        },
    ],
};

/// `endPort`.
pub const PORT_RANGES: PolicyCheck = PolicyCheck {
    id: "policy::port_ranges",
    text: CheckText {
        title: "A rule with a port range opens its first and last port, and none beyond",
        proves: "`endPort` is enforced, both ends included.",
        how: "One policy opens ports 8081 to 8090 of any protocol, another TCP ports 8000 to 8080. Every cell is \
              probed before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: FAULTS,
    cases: &[
        Case {
            name: "a range from 8081",
            policies: |fixture| into(fixture, json!([{"port": "8081", "endPort": 8090, "protocol": "ANY"}])),
            cells: inbound,
        },
        Case {
            name: "a range up to 8080",
            policies: |fixture| into(fixture, json!([{"port": "8000", "endPort": 8080, "protocol": "TCP"}])),
            cells: inbound,
        },
    ],
};

/// Ports by name.
pub const NAMED_PORTS: PolicyCheck = PolicyCheck {
    id: "policy::named_ports",
    text: CheckText {
        title: "A rule with a port name opens the port that the pod gave this name",
        proves: "On ingress a named port is the one that the selected pod gave the name, on egress the number on \
                 which the cluster's pods agree.",
        how: "One policy opens port `mp-http` for ingress, another port `mp-udp` of pods for egress; every cell is \
              probed before, under and after each. The names are used nowhere else: Cilium up to 1.18.3 ignores an \
              egress rule whose port name has another number in some pod of the cluster (cilium/cilium#30003).",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-named-port-ignored"],
    cases: &[
        Case {
            name: "ingress to a named port",
            policies: |fixture| into(fixture, json!([{"port": "mp-http", "protocol": "TCP"}])),
            cells: inbound,
        },
        Case {
            name: "egress to a named port",
            policies: |fixture| {
                vec![cilium(json!({"endpointSelector": fixture.selector(), "egress": [{
                    "toEndpoints": [{}],
                    "toPorts": [{"ports": [{"port": "mp-udp", "protocol": "UDP"}]}],
                }]}))]
            },
            cells: outbound,
        },
    ],
};

/// Protocols.
pub const PROTOCOLS: PolicyCheck = PolicyCheck {
    id: "policy::protocols",
    text: CheckText {
        title: "A rule with a protocol opens the port for that protocol only, and ANY for each",
        proves: "TCP and UDP on the same port number are distinguished.",
        how: "One policy opens UDP 8081 and TCP 8082, where the servers use the other protocol, and TCP 8080; another \
              opens 8082 for ANY. Every cell is probed before, under and after each.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: FAULTS,
    cases: &[
        Case {
            name: "the right port with the wrong protocol",
            policies: |fixture| {
                into(
                    fixture,
                    json!([
                        {"port": "8080", "protocol": "TCP"},
                        {"port": "8081", "protocol": "UDP"},
                        {"port": "8082", "protocol": "TCP"},
                    ]),
                )
            },
            cells: inbound,
        },
        Case {
            name: "a port for ANY protocol",
            policies: |fixture| into(fixture, json!([{"port": "8082", "protocol": "ANY"}])),
            cells: inbound,
        },
    ],
};

/// ICMP.
pub const ICMP: PolicyCheck = PolicyCheck {
    id: "policy::icmp",
    text: CheckText {
        title: "A rule for ICMP echo admits echo requests and opens no port",
        proves: "ICMP types are enforced (`enable-icmp-rules`): echo requests pass where a rule admits them, and are \
                 dropped where rules admit ports only.",
        how: "One policy admits echo requests in both directions, another admits every TCP and UDP port; every cell \
              is probed before, under and after each. The check is skipped where no pod may open a ping socket \
              (net.ipv4.ping_group_range).",
        control: CONTROL,
        when_red: "`kubectl --context CONTEXT -n kube-system get configmap cilium-config -o yaml`: \
                   `enable-icmp-rules` must not be false. Then `kubectl --context CONTEXT -n kube-system exec \
                   AGENT_POD -c cilium-agent -- cilium-dbg bpf policy get --all` on the node in the finding.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-icmp-ignored"],
    cases: &[
        Case {
            name: "echo requests only",
            policies: |fixture| {
                let icmps = json!([{"icmps": [{"fields": [{"family": "IPv4", "type": 8}]}]}]);
                vec![cilium(
                    json!({"endpointSelector": fixture.selector(), "ingress": icmps, "egress": icmps}),
                )]
            },
            cells: both_ways_and_ping,
        },
        Case {
            name: "every port and no ICMP",
            policies: |fixture| into(fixture, json!([{"port": "1", "endPort": 65535, "protocol": "ANY"}])),
            cells: both_ways_and_ping,
        },
    ],
};
