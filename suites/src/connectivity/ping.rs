//! Pods answer each other's ICMP echo requests: what operators try first, and what path MTU discovery depends on.

use crate::kit::{
    matrix::{self, Cell, Locality, Path, Paths, Quantity, Wording},
    path_check::PathProbe,
    probes::{self, DEADLINE},
};
use async_trait::async_trait;
use meshproof_contract::{Action, CheckContext, CheckId, CheckText, Outcome, Probe, Tally, Verdict};

/// ICMP echo between pods.
#[derive(Clone, Copy, Debug)]
pub struct Ping;

const RETRIES: usize = 5;
const EXPECTED: &str = "an echo reply from the pod's address within 1000 ms, or on retry within 3500 ms";
const WORDING: Wording = Wording {
    what: "ICMP echo",
    ok: "answered",
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
        Outcome::Answered { timing, .. } => Cell::Ok(Some(Quantity::micros(timing.total))),
        other => matrix::no_answer(other, EXPECTED),
    }
}

/// Whether the agents work and only may not ping: none could try, and some datagram's echo came back.
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
impl PathProbe for Ping {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id("connectivity::icmp")
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: locality.by(
                "Pods on the same node answer each other's pings",
                "Pods on other nodes answer pings",
                "Pods of the other cluster answer pings",
            ),
            proves: "ICMP passes beside TCP and UDP: the first thing that operators try works, and errors such as \
                     \"fragmentation needed\" can return.",
            how: "Every client sends an ICMP echo request of 56 B to every server's pod address through an \
                  unprivileged ping socket. A reply names the address and not the pod; connectivity::http_* verifies \
                  which pod answers. A pair without an answer gets five more requests, and five again a second \
                  later, with 3.5 s each, before it counts.",
            control: "The reply itself. Where no pod may open a ping socket (net.ipv4.ping_group_range) and the same \
                      agents exchange datagrams, the check is skipped with that reason; any other error of an agent \
                      is inconclusive.",
            when_red: "If TCP and UDP are green, ICMP is filtered. Run `kubectl --context CONTEXT -n kube-system exec \
                       AGENT_POD -c cilium-agent -- hubble observe --last 200 --protocol ICMPv4`; then check network \
                       policies without an ICMP rule and the firewall between the nodes.",
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        locality.by(
            &["same-node-dropped"],
            &["icmp-dropped", "node-pair-blackhole"],
            &["icmp-dropped", "other-cluster-blackhole"],
        )
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        let judged = matrix::probe_with_retry(
            context,
            &paths.list,
            |path, attempt| vec![ping(path); attempt.by(1, RETRIES)],
            |_, _, outcomes| matrix::judge_tries(outcomes, judge),
        )
        .await;
        let untried = judged.iter().all(|j| matches!(j.cell, Cell::Unknown(_)));
        if untried && paths.missing.is_empty() && pings_are_forbidden(context, paths).await {
            return Verdict::skipped(
                "the pods may not send pings (net.ipv4.ping_group_range of the nodes' container runtime); their \
                 agents work otherwise",
            );
        }
        let mut tally = Tally::new();
        matrix::conclude(context, paths, WORDING, &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Fake, instance_of, local_error, timeout},
    };

    fn is_ping(action: &Action) -> bool {
        matches!(action, Action::IcmpEcho { .. })
    }

    #[tokio::test(start_paused = true)]
    async fn replies_are_green_and_silence_is_red() {
        for check in PathCheck::all(Ping) {
            Fake::healthy().expect(&check, instance_of(&check), "pass").await;
            let silent = Fake::healthy().rule(|p| is_ping(p.action).then(timeout));
            silent.expect(&check, instance_of(&check), "fail").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_pods_may_not_ping_it_is_skipped() {
        for check in PathCheck::all(Ping) {
            let fake = Fake::healthy().rule(|p| is_ping(p.action).then(local_error));
            fake.expect(&check, instance_of(&check), "skipped").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_agent_that_may_not_ping_is_inconclusive() {
        for check in PathCheck::all(Ping) {
            let one =
                Fake::healthy().rule(|p| (is_ping(p.action) && p.from.node.as_str() == "infra-1").then(local_error));
            one.expect(&check, instance_of(&check), "inconclusive").await;
        }
    }
}
