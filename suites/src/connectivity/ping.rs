//! Pods answer each other's ICMP echo requests: what operators try first, and what path MTU discovery rides on.

use super::NEEDS;
use crate::kit::matrix::{self, Cell, Judged, Locality, Path, Paths, Wording, WorkloadPair};
use crate::kit::probes::{self, DEADLINE};
use async_trait::async_trait;
use meshproof_contract::{
    Action, Check, CheckContext, CheckId, CheckText, Needs, Outcome, Probe, Scope, Tally, Verdict,
};

/// ICMP echo over one locality of paths.
pub struct Ping {
    locality: Locality,
}

/// On one node.
pub const SAME_NODE: Ping = Ping {
    locality: Locality::SameNode,
};
/// Between the nodes of a cluster.
pub const OTHER_NODE: Ping = Ping {
    locality: Locality::OtherNode,
};
/// Between clusters.
pub const OTHER_CLUSTER: Ping = Ping {
    locality: Locality::OtherCluster,
};

const EXPECTED: &str = "an echo reply from the pod's address within 1000 ms, at the second look at the latest";
const WORDING: Wording = Wording {
    what: "ICMP echo",
    right: "answered",
    figure: Some("icmp_answer"),
};

fn ping(path: &Path) -> Probe {
    Probe::once(
        Action::IcmpEcho {
            to: path.to.address,
            payload: 56,
        },
        DEADLINE,
    )
}

fn judge(outcome: &Outcome) -> Cell {
    match outcome {
        Outcome::Answered { timing, .. } => Cell::Ok(Some(timing.total)),
        other => matrix::silence(other, EXPECTED),
    }
}

/// Whether the agents work and only may not ping: none could try, and each gets a datagram's echo over some path.
async fn pings_are_forbidden(context: &CheckContext, paths: &Paths) -> bool {
    let environment = context.environment.as_ref();
    let tried = matrix::observe(environment, &paths.list, |path| {
        vec![ping(path), probes::udp_echo(path, 64)]
    })
    .await;
    let mut working = false;
    for seen in &tried {
        match seen.as_deref() {
            Ok([Outcome::LocalError { .. }, udp]) => working |= matches!(udp, Outcome::Answered { .. }),
            _ => return false,
        }
    }
    working
}

#[async_trait]
impl Check for Ping {
    fn id(&self) -> CheckId {
        CheckId::from(self.locality.by(
            "connectivity::icmp_same_node",
            "connectivity::icmp_other_node",
            "connectivity::icmp_other_cluster",
        ))
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: self.locality.by(
                "Pods on the same node answer each other's pings",
                "Pods on other nodes answer pings",
                "Pods of the other cluster answer pings",
            ),
            proves: "ICMP passes beside TCP and UDP: what people try first when something is wrong works, and errors such as \"fragmentation needed\" have a way.",
            how: "Every client sends an ICMP echo request of 56 B to every server's pod address through an unprivileged ping socket. A reply tells the address and not the pod, so \
                  connectivity::http stands for who answers. A silent pair is asked again, five times at once, before it counts.",
            control: "The reply itself. Where no pod may open a ping socket (net.ipv4.ping_group_range) and the same agents exchange datagrams, the check is skipped with that reason; any other error of the agent is inconclusive.",
            when_red: "TCP and UDP green and this red: ICMP is filtered; `kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- hubble observe --last 200 --protocol ICMPv4`, \
                       network policies without an ICMP rule, and the firewall between the nodes.",
        }
    }

    fn scope(&self) -> Scope {
        self.locality.scope()
    }
    fn needs(&self) -> Needs {
        NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        self.locality.by(
            &["same-node-dropped"],
            &["icmp-dropped", "node-pair-blackhole"],
            &["icmp-dropped", "other-cluster-blackhole"],
        )
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let paths = match Paths::of(&facts, &context.instance, self.locality, WorkloadPair::PODS) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let judged: Vec<Judged> = matrix::probe_with_retry(
            context,
            &paths.list,
            |path| vec![ping(path)],
            |path| vec![ping(path); 5],
            |_, outcomes| matrix::judge_tries(outcomes, judge),
        )
        .await;
        let untried = judged.iter().all(|j| matches!(j.cell, Cell::Unknown(_)));
        if untried && paths.missing.is_empty() && pings_are_forbidden(context, &paths).await {
            return Verdict::skipped(
                "the pods may not send pings (net.ipv4.ping_group_range of the nodes' container runtime), and nothing else is wrong with their agents",
            );
        }
        let mut tally = Tally::new();
        matrix::conclude(context, &paths, WORDING, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra, infra_to_apps, local_error, timeout};
    use meshproof_contract::Instance;

    fn all() -> [(Ping, Instance); 3] {
        [
            (SAME_NODE, infra()),
            (OTHER_NODE, infra()),
            (OTHER_CLUSTER, infra_to_apps()),
        ]
    }
    fn is_ping(action: &Action) -> bool {
        matches!(action, Action::IcmpEcho { .. })
    }

    #[tokio::test]
    async fn replies_are_green_and_silence_is_red() {
        for (check, instance) in all() {
            Fake::healthy().expect(&check, instance.clone(), "pass").await;
            let silent = Fake::healthy().rule(|p| is_ping(p.action).then(timeout));
            silent.expect(&check, instance, "fail").await;
        }
    }

    #[tokio::test]
    async fn where_pods_may_not_ping_it_is_skipped() {
        for (check, instance) in all() {
            let fake = Fake::healthy().rule(|p| is_ping(p.action).then(local_error));
            fake.expect(&check, instance, "skipped").await;
        }
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for (check, instance) in all() {
            let one =
                Fake::healthy().rule(|p| (is_ping(p.action) && p.from.node.as_str() == "infra-1").then(local_error));
            one.expect(&check, instance.clone(), "inconclusive").await;
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
