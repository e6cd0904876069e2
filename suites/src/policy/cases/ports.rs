//! What a rule says about ports: numbers, ranges, names, protocols, ICMP (docs.cilium.io, "Layer 4 Policies").

use super::{both_ways_and_ping, inbound, outbound};
use crate::policy::case::{Case, Family};
use crate::kit::object::policy::cilium;
use crate::policy::scene::Scene;
use meshproof_contract::{CheckText, ClaimKind, Scope};
use serde_json::{Value, json};

const CONTROL: &str = "Each cell must be open before the policy and after it, so a server listens on every port; the port that the rule opens stays open under it, the others must be dropped without a word, not refused.";
const WHEN_RED: &str = "The finding names the deciding rule. `kubectl -n kube-system exec CILIUM-POD-OF-THE-NODE -- cilium-dbg bpf policy get --all` lists the ports that the data path opens for the pod.";
const FAULTS: &[&str] = &["policy-port-ignored"];

fn into(scene: &Scene, ports: Value) -> Vec<Value> {
    vec![cilium(
        json!({"endpointSelector": scene.selector(), "ingress": [{"toPorts": [{"ports": ports}]}]}),
    )]
}

/// One port.
pub const PORTS: Family = Family {
    id: "policy::ports",
    text: CheckText {
        title: "A rule with a port opens that port and no other, alone and together with labels",
        proves: "Port rules are enforced on ingress and egress, and a rule with peers and ports opens these ports to these peers only.",
        how: "A policy opens one TCP port to everybody; another lets the group ask pods of one label on one port. Every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: FAULTS,
    cases: &[
        Case {
            name: "one port for everybody",
            policies: |scene| into(scene, json!([{"port": "8080", "protocol": "TCP"}])),
            cells: inbound,
        },
        Case {
            name: "egress to a label on one port",
            policies: |scene| {
                vec![cilium(json!({"endpointSelector": scene.selector(), "egress": [{
                    "toEndpoints": [{"matchLabels": {"role": "caller"}}],
                    "toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}],
                }]}))]
            },
            cells: outbound,
        },
    ],
};

/// `endPort`.
pub const PORT_RANGES: Family = Family {
    id: "policy::port_ranges",
    text: CheckText {
        title: "A rule with a range of ports opens its first and last port, and none beside it",
        proves: "`endPort` is enforced, both ends included.",
        how: "A policy opens ports 8081 to 8090 of any protocol, another one 8000 to 8080; every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: FAULTS,
    cases: &[
        Case {
            name: "a range from 8081",
            policies: |scene| into(scene, json!([{"port": "8081", "endPort": 8090, "protocol": "ANY"}])),
            cells: inbound,
        },
        Case {
            name: "a range up to 8080",
            policies: |scene| into(scene, json!([{"port": "8000", "endPort": 8080, "protocol": "TCP"}])),
            cells: inbound,
        },
    ],
};

/// Ports by name.
pub const NAMED_PORTS: Family = Family {
    id: "policy::named_ports",
    text: CheckText {
        title: "A rule with a port's name opens the port that the pod gave this name",
        proves: "Named ports are resolved from the destination pod, on ingress and on egress.",
        how: "A policy opens port `mp-http`, another lets the group ask port `mp-udp` of pods; every cell before, under and after. (Names that nothing else has: Cilium up to 1.18.3 ignores an egress rule with a name that some pod of the mesh gave another number, cilium/cilium#30003.)",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-named-port-ignored"],
    cases: &[
        Case {
            name: "ingress to a named port",
            policies: |scene| into(scene, json!([{"port": "mp-http", "protocol": "TCP"}])),
            cells: inbound,
        },
        Case {
            name: "egress to a named port",
            policies: |scene| {
                vec![cilium(json!({"endpointSelector": scene.selector(), "egress": [{
                    "toEndpoints": [{}],
                    "toPorts": [{"ports": [{"port": "mp-udp", "protocol": "UDP"}]}],
                }]}))]
            },
            cells: outbound,
        },
    ],
};

/// Protocols.
pub const PROTOCOLS: Family = Family {
    id: "policy::protocols",
    text: CheckText {
        title: "A rule for a protocol opens the port for that protocol, and ANY for each",
        proves: "TCP and UDP are told apart on the same port number.",
        how: "A policy opens UDP 8081 and TCP 8082, where the servers speak the other protocol, and TCP 8080; another opens 8082 for ANY. Every cell before, under and after.",
        control: CONTROL,
        when_red: WHEN_RED,
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: FAULTS,
    cases: &[
        Case {
            name: "the right port with the wrong protocol",
            policies: |scene| {
                into(
                    scene,
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
            policies: |scene| into(scene, json!([{"port": "8082", "protocol": "ANY"}])),
            cells: inbound,
        },
    ],
};

/// ICMP.
pub const ICMP: Family = Family {
    id: "policy::icmp",
    text: CheckText {
        title: "A rule for ICMP echo opens echo and no port",
        proves: "ICMP types are enforced (`enable-icmp-rules`): echo requests pass where a rule names them and are dropped where rules name ports only.",
        how: "A policy lets echo requests in and out, then one that opens every TCP and UDP port; every cell before, under and after. Skipped where no pod may open a ping socket (net.ipv4.ping_group_range) and its agents are otherwise well.",
        control: CONTROL,
        when_red: "`kubectl -n kube-system get configmap cilium-config -o yaml | grep icmp` (enable-icmp-rules must not be false); then `cilium-dbg bpf policy get --all` on the node named.",
    },
    scope: Scope::Cluster,
    claim: ClaimKind::Policy,
    faults: &["policy-icmp-ignored"],
    cases: &[
        Case {
            name: "echo requests only",
            policies: |scene| {
                let icmps = json!([{"icmps": [{"fields": [{"family": "IPv4", "type": 8}]}]}]);
                vec![cilium(
                    json!({"endpointSelector": scene.selector(), "ingress": icmps, "egress": icmps}),
                )]
            },
            cells: both_ways_and_ping,
        },
        Case {
            name: "every port and no ICMP",
            policies: |scene| into(scene, json!([{"port": "1", "endPort": 65535, "protocol": "ANY"}])),
            cells: both_ways_and_ping,
        },
    ],
};
