//! The server sees the client's own pod address: nothing on the path translates it.

use crate::kit::{
    matrix::{self, Cell, Deviation, Locality, Path, Paths, Wording},
    path_check::PathProbe,
    probes::{self, DEADLINE},
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, Facts, Outcome, Verdict};
use std::net::IpAddr;

/// The source address that a pod shows to another.
#[derive(Clone, Copy, Debug)]
pub struct SourceAddress;

const WORDING: Wording = Wording {
    what: "source address",
    ok: "show the client's own pod address to the server, over TCP and UDP",
    figure: None,
};
const EXPECTED: &str = "the server sees the client's pod address as the source";

fn judge(facts: &Facts, path: &Path, outcome: &Outcome) -> Cell {
    let cell = matrix::answered_by(
        path,
        outcome,
        "an answer that names the source address that the server saw",
    );
    let (Cell::Ok(_), Outcome::Answered { source, .. }) = (&cell, outcome) else {
        return cell;
    };
    match source.map(|source| source.to_canonical()) {
        None => Cell::Unknown("the server did not report which source address it saw".to_owned()),
        Some(source) if source == path.from.address.to_canonical() => Cell::Ok(None),
        Some(source) => Cell::Mismatch(
            Deviation::new(EXPECTED, "the source address was translated on the path").with_detail(format!(
                "expected {}, the server saw {}",
                path.from.address,
                owner(facts, source)
            )),
        ),
    }
}

/// The address with whose it is, if that is known.
fn owner(facts: &Facts, address: IpAddr) -> String {
    for cluster in &facts.clusters {
        if let Some(node) = cluster.nodes.iter().find(|node| node.addresses.contains(&address)) {
            return format!(
                "{address}, the address of node {} of {}: masqueraded",
                node.name, cluster.name
            );
        }
    }
    match facts.agents.iter().find(|a| a.address == address) {
        Some(agent) => format!("{address}, the address of pod {}", agent.id),
        None => address.to_string(),
    }
}

#[async_trait]
impl PathProbe for SourceAddress {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id("connectivity::source_address")
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: locality.by(
                "Pods on the same node see each other's own address",
                "Pods on other nodes see the client's own address",
                "Pods of the other cluster see the client's own address",
            ),
            proves: locality.by(
                "Traffic that stays on a node is not translated.",
                "Traffic between the nodes is not masqueraded, so that policies by identity and logs by address hold.",
                "Traffic between the clusters is not masqueraded, so that identities, policies and logs hold across \
                 the mesh.",
            ),
            how: "Every client reaches every server over TCP and UDP. The answer names the source address that the \
                  server saw; it must be the client's pod address. A pair without an answer gets five more probes of \
                  each protocol at once before it counts.",
            control: "The answer itself: it must come from exactly the pod asked and name a source address; without \
                      one the result is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg status \
                       | grep -i masq` shows which CIDRs are exempt. In ConfigMap cilium-config, \
                       ipv4-native-routing-cidr must cover the pod CIDRs of every cluster of the mesh; see also \
                       enable-bpf-masquerade. If Cilium does not masquerade, check `ip-masq-agent` and the NAT of the \
                       underlay.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(&["masquerade-same-node"], &["masquerade-cluster"], &["masquerade-mesh"])
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let facts = context.environment.facts();
        matrix::probe_and_conclude(
            context,
            paths,
            WORDING,
            |path, attempt| {
                let mut probes = vec![probes::tcp_echo(path, 64, DEADLINE); attempt.by(1, 5)];
                probes.extend(vec![probes::udp_echo(path, 64); attempt.by(3, 5)]);
                probes
            },
            |path, attempt, outcomes| {
                matrix::judge_both(outcomes, attempt.by(1, 5), |outcome| judge(&facts, path, outcome))
            },
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Fake, instance_of, timeout},
    };
    use meshproof_contract::Action;

    #[tokio::test(start_paused = true)]
    async fn own_addresses_are_green() {
        for check in PathCheck::all(SourceAddress) {
            Fake::healthy().expect(&check, instance_of(&check), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_masqueraded_source_is_red_and_its_owner_named() {
        for udp in [true, false] {
            for check in PathCheck::all(SourceAddress) {
                let fake = Fake::healthy().rule(move |p| {
                    (matches!(p.action, Action::UdpEcho { .. }) == udp).then(|| p.answered_from(p.node_address(p.from)))
                });
                let text = fake.expect(&check, instance_of(&check), "fail").await;
                assert!(text.contains("address of node infra-1 of infra: masqueraded"), "{text}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_red_and_a_server_without_a_source_address_is_inconclusive() {
        for check in PathCheck::all(SourceAddress) {
            let silent = Fake::healthy().rule(|_| Some(timeout()));
            silent.expect(&check, instance_of(&check), "fail").await;
            let fake = Fake::healthy().rule(|p| Some(p.answered_without_source()));
            fake.expect(&check, instance_of(&check), "inconclusive").await;
        }
    }
}
