//! The server sees the client's own pod address: nothing on the way translates it.

use super::NEEDS;
use crate::kit::matrix::{self, Cell, Deviation, Locality, Path, Paths, Wording, WorkloadPair};
use crate::kit::probes::{self, DEADLINE};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Facts, Needs, Outcome, Scope, Tally, Verdict};
use std::net::IpAddr;

/// The source address over one locality of paths.
pub struct SourceAddress {
    locality: Locality,
}

/// On one node.
pub const SAME_NODE: SourceAddress = SourceAddress {
    locality: Locality::SameNode,
};
/// Between the nodes of a cluster.
pub const OTHER_NODE: SourceAddress = SourceAddress {
    locality: Locality::OtherNode,
};
/// Between clusters.
pub const OTHER_CLUSTER: SourceAddress = SourceAddress {
    locality: Locality::OtherCluster,
};

const WORDING: Wording = Wording {
    what: "source address",
    right: "show the client's own pod address to the server, over TCP and UDP",
    figure: None,
};
const EXPECTED: &str = "the server sees the client's pod address as the source";

/// Judges what both protocols showed: each must have shown the source.
fn judge(facts: &Facts, path: &Path, tcp: &[Outcome], udp: &[Outcome]) -> Cell {
    let one = |outcome: &Outcome| judge_source(facts, path, outcome);
    match matrix::judge_tries(tcp, one) {
        Cell::Ok(_) => match matrix::judge_tries(udp, one) {
            Cell::Ok(_) => Cell::Ok(None),
            other => other,
        },
        other => other,
    }
}

fn judge_source(facts: &Facts, path: &Path, outcome: &Outcome) -> Cell {
    let cell = matrix::answered_by(
        path,
        outcome,
        "an answer that tells which source address the server saw",
    );
    let (Cell::Ok(_), Outcome::Answered { source, .. }) = (&cell, outcome) else {
        return cell;
    };
    match source {
        None => Cell::Unknown("the server did not tell which source address it saw".to_owned()),
        Some(source) if source.to_canonical() == path.from.address.to_canonical() => Cell::Ok(None),
        Some(source) => Cell::Mismatch(
            Deviation::new(EXPECTED, "the source address was translated on the way").with_detail(format!(
                "expected {}, the server saw {}",
                path.from.address,
                owner(facts, source.to_canonical())
            )),
        ),
    }
}

/// The address with whose it is, if that is known.
fn owner(facts: &Facts, address: IpAddr) -> String {
    for cluster in &facts.clusters {
        for node in &cluster.nodes {
            if node.addresses.contains(&address) {
                return format!(
                    "{address}, the address of node {} of {}: masqueraded",
                    node.name, cluster.name
                );
            }
        }
    }
    match facts.agents.iter().find(|a| a.address == address) {
        Some(agent) => format!("{address}, the address of pod {}", agent.id),
        None => address.to_string(),
    }
}

#[async_trait]
impl Check for SourceAddress {
    fn id(&self) -> CheckId {
        CheckId::from(self.locality.by(
            "connectivity::source_address_same_node",
            "connectivity::source_address_other_node",
            "connectivity::source_address_other_cluster",
        ))
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: self.locality.by(
                "Pods on the same node see each other's own address",
                "Pods on other nodes see the client's own address",
                "Pods of the other cluster see the client's own address",
            ),
            proves: self.locality.by(
                "Traffic that stays on a node is not translated.",
                "Traffic between the nodes is not masqueraded, so that policies by identity and logs by address hold.",
                "Traffic between the clusters is not masqueraded: the other side can tell the pod, so identities, policies and logs \
                 hold across the mesh.",
            ),
            how: "Every client reaches every server over TCP and UDP; the answer tells the source address that the server saw, and \
                  it is compared with the client's pod address. A silent pair is asked again, five times at once, before it counts.",
            control: "The answer itself: it must come from exactly the pod asked and tell a source address; one without is inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status | grep -i masq` \
                       (which CIDRs are exempt?), the keys ipv4-native-routing-cidr and enable-bpf-masquerade in ConfigMap cilium-config: it must cover the \
                       pod CIDRs of every cluster of the mesh. Without Cilium's hand in it: `ip-masq-agent` and the underlay's NAT.",
        }
    }

    fn scope(&self) -> Scope {
        self.locality.scope()
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        self.locality
            .by(&["masquerade-same-node"], &["masquerade-cluster"], &["masquerade-mesh"])
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let paths = match Paths::of(&facts, &context.instance, self.locality, WorkloadPair::PODS) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let probes = |path: &Path, tcp: usize, udp: usize| {
            let mut probes = vec![probes::tcp_echo(path, 64, DEADLINE); tcp];
            probes.extend(vec![probes::udp_echo(path, 64); udp]);
            probes
        };
        let judged = matrix::probe_with_retry(
            context,
            &paths.list,
            |path| probes(path, 1, 3),
            |path| probes(path, 5, 5),
            |path, outcomes| {
                let tcp = if outcomes.len() > 4 { 5 } else { 1 };
                let (tcp, udp) = outcomes.split_at(tcp.min(outcomes.len()));
                judge(&facts, path, tcp, udp)
            },
        )
        .await;
        let mut tally = Tally::new();
        matrix::conclude(context, &paths, WORDING, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra, infra_to_apps, timeout};
    use meshproof_contract::{Action, Instance};

    fn all() -> [(SourceAddress, Instance); 3] {
        [
            (SAME_NODE, infra()),
            (OTHER_NODE, infra()),
            (OTHER_CLUSTER, infra_to_apps()),
        ]
    }

    #[tokio::test]
    async fn own_addresses_are_green() {
        for (check, instance) in all() {
            Fake::healthy().expect(&check, instance, "pass").await;
        }
    }

    #[tokio::test]
    async fn a_masqueraded_source_is_red_and_its_owner_named() {
        for udp in [true, false] {
            for (check, instance) in all() {
                let fake = Fake::healthy().rule(move |p| {
                    (matches!(p.action, Action::UdpEcho { .. }) == udp).then(|| p.answered_from(p.node_address(p.from)))
                });
                let text = fake.expect(&check, instance, "fail").await;
                assert!(text.contains("address of node infra-1 of infra: masqueraded"), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn silence_is_red_and_a_server_that_does_not_tell_is_inconclusive() {
        for (check, instance) in all() {
            Fake::healthy()
                .rule(|_| Some(timeout()))
                .expect(&check, instance.clone(), "fail")
                .await;
            let fake = Fake::healthy().rule(|p| Some(p.answered_without_source()));
            fake.expect(&check, instance, "inconclusive").await;
        }
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for (check, instance) in all() {
            Fake::healthy()
                .local_errors()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .agents_gone()
                .expect(&check, instance.clone(), "inconclusive")
                .await;
            Fake::healthy()
                .without_agents()
                .expect(&check, instance, "inconclusive")
                .await;
        }
    }
}
