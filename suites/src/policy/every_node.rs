//! Policies are enforced on every node, in both directions and by the proxies: nodes enforce independently of each
//! other, and most cases have pods on two of them.

use super::{
    cases::names::admitting_queries,
    cell::{Cell, GET, Traffic},
    conditional::{cluster_dns::node_local, l7_proxy::no_proxy},
    fixture::Fixture,
    participant::{Participant, SCENARIO},
    peer_service::PeerService,
    run_case::{PreparedCase, run_case},
    takes_effect::tally_nodes_without_subject,
};
use crate::kit::object::policy::cilium;
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClaimKind, Needs, Scope, Tally, Verdict};
use serde_json::{Value, json};
use std::{slice, sync::Arc};

/// A subject pod on every node.
pub struct EveryNode;

/// Looks at each cell in a row: one packet of ten that passes shows with a probability of 96 % in one denied cell, one
/// of three always (1 in 200,000 does not).
const LOOKS: u32 = 30;

const POST: Traffic = Traffic::Http {
    method: "POST",
    path: "/",
    header: None,
};

#[async_trait]
impl Check for EveryNode {
    fn id(&self) -> CheckId {
        CheckId::from("policy::every_node")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every node enforces ingress, egress, DNS and HTTP rules, packet by packet, also through Services",
            proves: "No node leaves a direction or a proxy out, none enforces late, and none lets a share of the \
                     packets pass: each decides by itself, from its own copy of the rules. What goes through a \
                     Service is judged by the pod and the port where it ends.",
            how: "One policy selects a pod on every node. It admits one kind of peer on one port in each direction, \
                  queries for one name, and GET, the last two where a proxy is claimed and runs. Peers on other nodes \
                  take turns; a Service with a random name in front of them is asked at its cluster IP and, where \
                  kube-proxy is replaced, at the pod's own node's NodePorts. Once every cell is as expected, each is \
                  looked at 30 times more, one every 15 ms: a denied cell that is answered once is a finding.",
            control: "Each cell must be open before the policy and after its deletion. What the rule admits stays \
                      open under it, from the same peers to the same pods.",
            when_red: "The finding names the pod and its node: `kubectl --context CONTEXT -n kube-system exec \
                       AGENT_POD -c cilium-agent -- cilium-dbg endpoint list` there (is the policy enforced in both \
                       directions?), then `cilium-dbg bpf policy get ENDPOINT` against the same of another node.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: Some(ClaimKind::Policy),
            mutates: true,
            ..Needs::default()
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "policy-not-enforced-on-one-node",
            "policy-egress-ignored-on-node",
            "policy-leaks-on-node",
            "policy-dns-not-refused-on-node",
            "policy-l7-ignored-on-node",
            "policy-skipped-for-services",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let claimed = |kind| context.environment.facts().claim(context.instance.to(), kind).is_some();
        // Asked before the pods are borrowed: it borrows some itself.
        let http = claimed(ClaimKind::L7Policy) && no_proxy(context).await.is_none();
        let names = claimed(ClaimKind::FqdnPolicy) && node_local(context).is_none();
        let fixture = match Fixture::on_every_node(context).await {
            Ok(fixture) => fixture,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        tally_nodes_without_subject(context, &fixture, &mut tally);
        let parts = Parts { http, names };
        for (is_left_out, what) in [(!http, "HTTP rules"), (!names || fixture.dns.is_none(), "DNS rules")] {
            if is_left_out {
                context.note(format!(
                    "{what} are left out: not claimed, or without a proxy or DNS pods of their own"
                ));
            }
        }
        let service = PeerService::create(context, &fixture).await;
        let mut cells = cells(&fixture, parts);
        match &service {
            Ok(service) => cells.extend(service.cells(&fixture)),
            Err(why) => tally.unknown(why),
        }
        let case = PreparedCase {
            name: "every node",
            policies: policies(&fixture, parts),
            cells,
            looks: LOOKS,
        };
        run_case(context, &fixture, case, &mut tally).await;
        if let Ok(service) = service {
            service.delete(&fixture).await;
        }
        tally.verdict()
    }
}

/// What of the policy needs a proxy.
#[derive(Clone, Copy)]
struct Parts {
    http: bool,
    names: bool,
}

fn policies(fixture: &Fixture, parts: Parts) -> Vec<Value> {
    let peers = json!([{"matchLabels": {"role": "peer"}}]);
    let mut ingress = vec![json!({"fromEndpoints": peers, "toPorts": [
        {"ports": [{"port": "8081", "protocol": "TCP"}]},
    ]})];
    if parts.http {
        ingress.push(json!({"fromEndpoints": peers, "toPorts": [
            {"ports": [{"port": "8080", "protocol": "TCP"}], "rules": {"http": [{"method": "GET"}]}},
        ]}));
    }
    let egress = json!({"toEndpoints": peers, "toPorts": [{"ports": [{"port": "8082", "protocol": "UDP"}]}]});
    let mut policies = vec![cilium(json!({
        "endpointSelector": fixture.selector(), "ingress": ingress, "egress": [egress],
    }))];
    if parts.names {
        let admitted = |domain: &str| json!([{"matchName": format!("kubernetes.default.svc.{domain}")}]);
        policies.extend(admitting_queries(fixture, |dns| admitted(&dns.domain), &[]));
    }
    policies
}

/// For each subject pod cells with one peer that the rules admit and one that they do not, on other nodes where there
/// are any, each time others.
fn cells(fixture: &Fixture, parts: Parts) -> Vec<Cell> {
    let of = |workload: &str| -> Vec<&Arc<Participant>> {
        let own = fixture.peers.iter().filter(|peer| *peer.cluster() == fixture.cluster);
        own.filter(|peer| peer.agent.workload == workload).collect()
    };
    let (admitted, refused) = (of("peer"), of("other-peer"));
    let elsewhere = |peers: &[&Arc<Participant>], subject: &Participant, turn: usize| -> Option<Arc<Participant>> {
        let in_turn = (0..peers.len()).map(|step| peers[(turn + step) % peers.len()]);
        let far = in_turn.clone().find(|peer| peer.agent.node != subject.agent.node);
        far.or_else(|| in_turn.clone().next()).cloned()
    };
    let mut all = Vec::new();
    for (turn, subject) in fixture.subjects.iter().enumerate() {
        let subject = slice::from_ref(subject);
        let peer = |peers: &[&Arc<Participant>]| elsewhere(peers, &subject[0], turn);
        if let Some(peer) = peer(&admitted) {
            let peer = [peer];
            all.extend(Fixture::cells(&peer, subject, &[Traffic::Tcp, Traffic::Udp, GET]));
            all.extend(Fixture::cells(subject, &peer, &[Traffic::Udp, Traffic::Tcp]));
            if parts.http {
                all.extend(Fixture::cells(&peer, subject, &[POST]));
            }
        }
        if let Some(peer) = peer(&refused) {
            let peer = [peer];
            all.extend(Fixture::cells(&peer, subject, &[Traffic::Tcp]));
            all.extend(Fixture::cells(subject, &peer, &[Traffic::Udp]));
        }
        if let (true, Some(dns)) = (parts.names, &fixture.dns) {
            let names = [
                format!("kubernetes.default.svc.{}.", dns.domain),
                format!("{}.{}.svc.{}.", dns.service, dns.namespace, dns.domain),
            ];
            let queries = names.map(|name| Traffic::DnsQuery { name, port: dns.port });
            all.extend(Fixture::cells(subject, slice::from_ref(&dns.replica), &queries));
        }
    }
    all
}
