//! Every client reaches every server of a locality over HTTP, TCP and UDP, and exactly the pod asked answers.

use crate::kit::{
    matrix::{self, Attempt, Locality, Path, Paths, Wording},
    path_check::PathProbe,
    probes::{self, DEADLINE},
};
use async_trait::async_trait;
use meshproof_contract::{CheckContext, CheckId, CheckText, Probe, Verdict};

/// A protocol between pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reach {
    Http,
    Tcp,
    Udp,
}

/// Datagrams sent at first; one that comes back is enough.
const DATAGRAMS: usize = 3;
/// Probes of a retry.
const RETRIES: usize = 5;
/// Bytes echoed over TCP and UDP.
const PAYLOAD: u32 = 64;
const EXPECTED: &str = "an answer from exactly the pod asked within 1000 ms, or on retry within 3500 ms";

impl Reach {
    fn probe(self, path: &Path) -> Probe {
        match self {
            Reach::Http => probes::http_get(path),
            Reach::Tcp => probes::tcp_echo(path, PAYLOAD, DEADLINE),
            Reach::Udp => probes::udp_echo(path, PAYLOAD),
        }
    }
    fn probes(self, path: &Path, attempt: Attempt) -> Vec<Probe> {
        let first = match self {
            Reach::Http | Reach::Tcp => 1,
            Reach::Udp => DATAGRAMS,
        };
        vec![self.probe(path); attempt.by(first, RETRIES)]
    }
    fn wording(self) -> Wording {
        let (what, figure) = match self {
            Reach::Http => ("HTTP", "http_answer"),
            Reach::Tcp => ("TCP", "tcp_answer"),
            Reach::Udp => ("UDP", "udp_answer"),
        };
        Wording {
            what,
            ok: "answered, each by the pod asked",
            figure: Some(figure),
        }
    }
}

#[async_trait]
impl PathProbe for Reach {
    fn id(&self, locality: Locality) -> CheckId {
        locality.id(match self {
            Reach::Http => "connectivity::http",
            Reach::Tcp => "connectivity::tcp",
            Reach::Udp => "connectivity::udp",
        })
    }

    fn text(&self, locality: Locality) -> CheckText {
        CheckText {
            title: match self {
                Reach::Http => locality.by(
                    "Pods reach pods on their own node over HTTP",
                    "Pods reach pods on other nodes over HTTP",
                    "Pods reach pods of the other cluster over HTTP",
                ),
                Reach::Tcp => locality.by(
                    "Pods reach pods on their own node over TCP",
                    "Pods reach pods on other nodes over TCP",
                    "Pods reach pods of the other cluster over TCP",
                ),
                Reach::Udp => locality.by(
                    "Pods reach pods on their own node over UDP",
                    "Pods reach pods on other nodes over UDP",
                    "Pods reach pods of the other cluster over UDP",
                ),
            },
            proves: locality.by(
                "The pod network of every node delivers packets between two pods of that node.",
                "Every node of the cluster reaches the pods of every other node, in both directions.",
                "Every node of this cluster reaches the pods on every node of the other cluster by their own \
                 addresses.",
            ),
            how: match self {
                Reach::Http => {
                    "Every client sends GET to every server's pod address. The answer names the server's cluster, \
                     node, namespace and pod, and must name the pod asked. A pair without an answer gets five more \
                     requests, and five again a second later, with 3.5 s each, before it counts, since loss has its \
                     own check; the number of such pairs is recorded."
                }
                Reach::Tcp => {
                    "Every client opens a TCP connection to every server's pod address and sends 64 random bytes, \
                     which the server echoes with its cluster, node, namespace and pod. They must name the pod asked. \
                     A pair without an answer gets five more connections, and five again a second later, with 3.5 s \
                     each, before it counts, since loss has its own check; the number of such pairs is recorded."
                }
                Reach::Udp => {
                    "Every client sends three datagrams to every server's pod address; one echo from exactly the pod \
                     asked is enough, since loss has its own check. A pair without an answer gets five more \
                     datagrams, and five again a second later, before it counts; the number of such pairs is recorded."
                }
            },
            control: "Only an answer with the right identity counts as a pass. If no pair answers, the same pairs are \
                      probed over HTTP and the same-node pairs of both sides as well, so that the finding names the \
                      part that fails.",
            when_red: locality.by(
                "On NODE: `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg \
                 endpoint list` (is the endpoint ready?) and `hubble observe --last 200 --to-ip ADDRESS` in the same \
                 pod. A refused connection means that the packet arrived.",
                "On both nodes: `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- \
                 cilium-health status` and `hubble observe --last 200 --from-ip A --to-ip B`. Flows on the first node \
                 only: packets are lost between the nodes (tunnel port 8472/UDP, WireGuard 51871/UDP, routes). No \
                 flows at all: packets are dropped before they leave.",
                "On both sides: `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- \
                 cilium-dbg status --verbose`, `cilium-dbg bpf ipcache get ADDRESS` (is the other cluster's pod \
                 known, and behind which node?) and `hubble observe --from-ip A --to-ip B`. If only one direction is \
                 red, check the return path first.",
            ),
        }
    }

    fn faults(&self, locality: Locality) -> &'static [&'static str] {
        match self {
            Reach::Http => locality.by(
                &["endpoint-blackhole", "same-node-dropped"],
                &["node-pair-blackhole", "tunnel-down", "http-reset"],
                &["one-way-blackhole", "other-cluster-blackhole", "tunnel-down-mesh"],
            ),
            Reach::Tcp => locality.by(
                &["endpoint-blackhole", "same-node-dropped"],
                &["tcp-dropped", "node-pair-blackhole", "tunnel-down"],
                &["tcp-dropped", "one-way-blackhole", "other-cluster-blackhole"],
            ),
            Reach::Udp => locality.by(
                &["endpoint-blackhole", "same-node-dropped"],
                &["udp-dropped", "node-pair-blackhole"],
                &["udp-dropped", "other-cluster-blackhole"],
            ),
        }
    }

    async fn run(&self, context: &CheckContext, paths: &Paths) -> Verdict {
        matrix::probe_and_conclude(
            context,
            paths,
            self.wording(),
            |path, attempt| self.probes(path, attempt),
            |path, _, outcomes| matrix::judge_tries(outcomes, |outcome| matrix::answered_by(path, outcome, EXPECTED)),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kit::path_check::PathCheck,
        testing::{Fake, denied, identity_of, infra, infra_to_apps, instance_of, timeout},
    };
    use meshproof_contract::{Action, Outcome};
    use std::time::Duration;

    const ALL: [(Reach, &str); 3] = [(Reach::Http, "http"), (Reach::Tcp, "tcp"), (Reach::Udp, "udp")];
    fn protocol(action: &Action) -> &'static str {
        match action {
            Action::Http { .. } => "http",
            Action::TcpEcho { .. } => "tcp",
            Action::UdpEcho { .. } => "udp",
            _ => "other",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_healthy_network_is_green() {
        for check in ALL.iter().flat_map(|(reach, _)| PathCheck::all(*reach)) {
            Fake::healthy().expect(&check, instance_of(&check), "pass").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_protocol_is_red_and_only_that() {
        for (reach, asked) in ALL {
            for lost in ["http", "tcp", "udp"] {
                let fake = Fake::healthy().rule(move |p| (protocol(p.action) == lost).then(timeout));
                let word = if asked == lost { "fail" } else { "pass" };
                for check in PathCheck::all(reach) {
                    fake.clone().expect(&check, instance_of(&check), word).await;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_broken_pair_is_named() {
        let fake = Fake::healthy()
            .rule(|p| (p.from.node.as_str() == "infra-2" && p.to_node() == Some("apps-3")).then(timeout));
        let text = fake
            .expect(&PathCheck::other_cluster(Reach::Http), infra_to_apps(), "fail")
            .await;
        assert!(text.contains("HTTP: infra-2 -> apps-3"), "{text}");
        assert!(text.contains("8 other pairs"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mesh_that_is_away_reads_in_seconds() {
        let fake = Fake::healthy().rule(|p| {
            (p.to.is_some_and(|to| to.id.cluster != p.from.id.cluster) && protocol(p.action) != "other").then(timeout)
        });
        let text = fake
            .expect(&PathCheck::other_cluster(Reach::Tcp), infra_to_apps(), "fail")
            .await;
        assert!(text.contains("TCP: all 9 pairs infra -> apps"), "{text}");
        assert!(text.contains("the path between the clusters fails"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_protocol_that_alone_fails_is_not_blamed_on_the_path() {
        let fake = Fake::healthy().rule(|p| (protocol(p.action) == "udp").then(timeout));
        let text = fake
            .expect(&PathCheck::other_cluster(Reach::Udp), infra_to_apps(), "fail")
            .await;
        assert!(text.contains("HTTP works on 9 of the same 9 pairs"), "{text}");
        assert!(!text.contains("the path between the clusters fails"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_server_is_red_even_if_others_answer_rightly() {
        let fake = Fake::healthy().rule(|p| {
            let wrong = p.from.node.as_str() == "infra-1" && p.to_node() == Some("infra-3") && p.number == 0;
            wrong.then(|| p.answered_as(identity_of("apps", "apps-1", "server")))
        });
        for (reach, _) in ALL {
            let text = fake
                .clone()
                .expect(&PathCheck::other_node(reach), infra(), "fail")
                .await;
            assert!(text.contains("answered by apps/apps-1/server-apps-1"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_lost_packet_is_not_red_but_recorded() {
        let fake = Fake::healthy().rule(|p| (p.batch == 0 && p.to_node() == Some("infra-2")).then(timeout));
        let text = fake.expect(&PathCheck::other_node(Reach::Http), infra(), "pass").await;
        assert!(text.contains("no answer at first, answered on retry"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_answers_only_to_a_patient_look_or_a_late_one_is_not_red() {
        let slow = Fake::healthy().rule(|p| (p.limit < Duration::from_secs(3)).then(timeout));
        slow.expect(&PathCheck::other_node(Reach::Tcp), infra(), "pass").await;
        let burst = Fake::healthy().rule(|p| (p.batch < 2).then(timeout));
        burst.expect(&PathCheck::other_node(Reach::Udp), infra(), "pass").await;
        let dead = Fake::healthy().rule(|p| (p.batch < 4).then(timeout));
        dead.expect(&PathCheck::other_node(Reach::Tcp), infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_the_own_node_denies_is_no_answer_and_not_the_agents_inability() {
        let fake = Fake::healthy().rule(|p| (p.to_node() == Some("infra-2")).then(denied));
        let text = fake.expect(&PathCheck::other_node(Reach::Tcp), infra(), "fail").await;
        assert!(
            text.contains("refused by the data path of the client's own node"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_error_is_red() {
        let fake = Fake::healthy().rule(|p| match p.answered() {
            Outcome::Answered { served_by, timing, .. } => Some(Outcome::Answered {
                served_by,
                source: None,
                address: None,
                status: Some(503),
                bytes: 0,
                timing,
            }),
            _ => None,
        });
        let text = fake.expect(&PathCheck::same_node(Reach::Http), infra(), "fail").await;
        assert!(text.contains("HTTP status 503"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_server_is_inconclusive() {
        for check in ALL.iter().flat_map(|(reach, _)| PathCheck::all(*reach)) {
            let fake = Fake::healthy().missing("server", "infra-1").missing("server", "apps-1");
            fake.expect(&check, instance_of(&check), "inconclusive").await;
        }
    }
}
