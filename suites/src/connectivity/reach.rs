//! Every client reaches every server of a locality over HTTP, TCP and UDP, and exactly the pod asked answers.

use super::NEEDS;
use crate::kit::matrix::{self, Locality, Path, Paths, Wording, WorkloadPair};
use crate::kit::probes::{self, DEADLINE};
use async_trait::async_trait;
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Needs, Probe, Scope, Tally, Verdict};

/// One protocol over one locality of paths.
pub struct Reach {
    protocol: Protocol,
    locality: Locality,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http,
    Tcp,
    Udp,
}

macro_rules! reach {
    ($($(#[$doc:meta])* $name:ident = $protocol:ident, $locality:ident;)*) => {
        $($(#[$doc])* pub const $name: Reach = Reach { protocol: Protocol::$protocol, locality: Locality::$locality };)*
    };
}

reach! {
    /// HTTP between pods on one node.
    HTTP_SAME_NODE = Http, SameNode;
    /// HTTP between the nodes of a cluster.
    HTTP_OTHER_NODE = Http, OtherNode;
    /// HTTP between clusters.
    HTTP_OTHER_CLUSTER = Http, OtherCluster;
    /// TCP between pods on one node.
    TCP_SAME_NODE = Tcp, SameNode;
    /// TCP between the nodes of a cluster.
    TCP_OTHER_NODE = Tcp, OtherNode;
    /// TCP between clusters.
    TCP_OTHER_CLUSTER = Tcp, OtherCluster;
    /// UDP between pods on one node.
    UDP_SAME_NODE = Udp, SameNode;
    /// UDP between the nodes of a cluster.
    UDP_OTHER_NODE = Udp, OtherNode;
    /// UDP between clusters.
    UDP_OTHER_CLUSTER = Udp, OtherCluster;
}

/// Datagrams sent at the first look; one that comes back is enough.
const DATAGRAMS: usize = 3;
/// Tries at the second look.
const RETRIES: usize = 5;
/// Bytes echoed over TCP and UDP.
const PAYLOAD: u32 = 64;
const EXPECTED: &str = "an answer from exactly the pod asked, within 1000 ms, at the second look at the latest";

impl Reach {
    fn probe(&self, path: &Path) -> Probe {
        match self.protocol {
            Protocol::Http => probes::http_get(path),
            Protocol::Tcp => probes::tcp_echo(path, PAYLOAD, DEADLINE),
            Protocol::Udp => probes::udp_echo(path, PAYLOAD),
        }
    }
    fn wording(&self) -> Wording {
        let (what, figure) = match self.protocol {
            Protocol::Http => ("HTTP", "http_answer"),
            Protocol::Tcp => ("TCP", "tcp_answer"),
            Protocol::Udp => ("UDP", "udp_answer"),
        };
        Wording {
            what,
            right: "answered, each by the pod asked",
            figure: Some(figure),
        }
    }
}

#[async_trait]
impl Check for Reach {
    fn id(&self) -> CheckId {
        CheckId::from(match self.protocol {
            Protocol::Http => self.locality.by(
                "connectivity::http_same_node",
                "connectivity::http_other_node",
                "connectivity::http_other_cluster",
            ),
            Protocol::Tcp => self.locality.by(
                "connectivity::tcp_same_node",
                "connectivity::tcp_other_node",
                "connectivity::tcp_other_cluster",
            ),
            Protocol::Udp => self.locality.by(
                "connectivity::udp_same_node",
                "connectivity::udp_other_node",
                "connectivity::udp_other_cluster",
            ),
        })
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: match self.protocol {
                Protocol::Http => self.locality.by(
                    "Pods reach pods on their own node over HTTP",
                    "Pods reach pods on other nodes over HTTP",
                    "Pods reach pods of the other cluster over HTTP",
                ),
                Protocol::Tcp => self.locality.by(
                    "Pods reach pods on their own node over TCP",
                    "Pods reach pods on other nodes over TCP",
                    "Pods reach pods of the other cluster over TCP",
                ),
                Protocol::Udp => self.locality.by(
                    "Pods reach pods on their own node over UDP",
                    "Pods reach pods on other nodes over UDP",
                    "Pods reach pods of the other cluster over UDP",
                ),
            },
            proves: self.locality.by(
                "On every node the pod network delivers between two pods of that node.",
                "Every node of the cluster delivers to every other one, in both directions of the pair.",
                "Every node of this cluster reaches the pods on every node of the other one by their own addresses.",
            ),
            how: match self.protocol {
                Protocol::Http => {
                    "Every client sends GET to every server's pod address. The answer names cluster, node, namespace and pod of \
                     the server, and these are compared with the pod asked. A silent pair is asked again, five times at once, \
                     before it counts, since loss has a check of its own; how many pairs needed that is recorded."
                }
                Protocol::Tcp => {
                    "Every client opens a TCP connection to every server's pod address and has 64 random bytes sent back; the server \
                     names cluster, node, namespace and pod of itself, and these are compared with the pod asked. A silent pair is asked \
                     again, five times at once, before it counts, since loss has a check of its own; how many pairs needed that is recorded."
                }
                Protocol::Udp => {
                    "Every client sends three datagrams to every server's pod address; one that comes back from exactly the \
                     pod asked is enough, since loss has a check of its own. A silent pair gets five more before it counts; how many \
                     pairs needed that is recorded."
                }
            },
            control: "Only an answer with the right identity counts as a pass. When every pair is silent, the same pairs are asked over HTTP and the same-node pairs of both \
                      sides too, so that the finding says which part fails.",
            when_red: self.locality.by(
                "On the node named: `kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-dbg endpoint list` \
                 (is the endpoint ready?) and `hubble observe --last 200 --to-ip ADDRESS`. A refusal means that the packet arrived.",
                "On both nodes: `kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-health status` and \
                 `hubble observe --last 200 --from-ip A --to-ip B`; seen on the first node only means lost between the nodes \
                 (tunnel port 8472/UDP, WireGuard 51871/UDP, routes), seen on neither means dropped before leaving.",
                "`kubectl --context CONTEXT -n kube-system exec ds/cilium -c cilium-agent -- cilium-dbg status --verbose` on both sides, \
                 `cilium-dbg bpf ipcache get ADDRESS` (is the other cluster's pod known, and behind which node?) and `hubble observe \
                 --from-ip A --to-ip B` on both nodes. One direction only red: look at the way back first.",
            ),
        }
    }

    fn scope(&self) -> Scope {
        self.locality.scope()
    }
    fn needs(&self) -> Needs {
        NEEDS
    }

    fn faults(&self) -> &'static [&'static str] {
        match self.protocol {
            Protocol::Http => self.locality.by(
                &["endpoint-blackhole", "same-node-dropped"],
                &["node-pair-blackhole", "tunnel-down", "http-reset"],
                &["one-way-blackhole", "other-cluster-blackhole", "tunnel-down-mesh"],
            ),
            Protocol::Tcp => self.locality.by(
                &["endpoint-blackhole", "same-node-dropped"],
                &["tcp-dropped", "node-pair-blackhole", "tunnel-down"],
                &["tcp-dropped", "one-way-blackhole", "other-cluster-blackhole"],
            ),
            Protocol::Udp => self.locality.by(
                &["endpoint-blackhole", "same-node-dropped"],
                &["udp-dropped", "node-pair-blackhole"],
                &["udp-dropped", "other-cluster-blackhole"],
            ),
        }
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let paths = match Paths::of(&facts, &context.instance, self.locality, WorkloadPair::PODS) {
            Ok(paths) => paths,
            Err(verdict) => return verdict,
        };
        let tries = if self.protocol == Protocol::Udp { DATAGRAMS } else { 1 };
        let judged = matrix::probe_with_retry(
            context,
            &paths.list,
            |path| vec![self.probe(path); tries],
            |path| vec![self.probe(path); RETRIES],
            |path, outcomes| matrix::judge_tries(outcomes, |outcome| matrix::answered_by(path, outcome, EXPECTED)),
        )
        .await;
        let mut tally = Tally::new();
        matrix::conclude(context, &paths, self.wording(), &judged, &mut tally).await;
        tally.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, identity_of, infra, infra_to_apps, timeout};
    use meshproof_contract::{Action, Instance, Outcome};

    const ALL: [(&Reach, &str); 9] = [
        (&HTTP_SAME_NODE, "http"),
        (&HTTP_OTHER_NODE, "http"),
        (&HTTP_OTHER_CLUSTER, "http"),
        (&TCP_SAME_NODE, "tcp"),
        (&TCP_OTHER_NODE, "tcp"),
        (&TCP_OTHER_CLUSTER, "tcp"),
        (&UDP_SAME_NODE, "udp"),
        (&UDP_OTHER_NODE, "udp"),
        (&UDP_OTHER_CLUSTER, "udp"),
    ];
    fn instance(check: &Reach) -> Instance {
        match check.locality {
            Locality::OtherCluster => infra_to_apps(),
            Locality::SameNode | Locality::OtherNode => infra(),
        }
    }
    fn protocol(action: &Action) -> &'static str {
        match action {
            Action::Http { .. } => "http",
            Action::TcpEcho { .. } => "tcp",
            Action::UdpEcho { .. } => "udp",
            _ => "other",
        }
    }

    #[tokio::test]
    async fn a_healthy_network_is_green() {
        for (check, _) in ALL {
            Fake::healthy().expect(check, instance(check), "pass").await;
        }
    }

    #[tokio::test]
    async fn a_lost_protocol_is_red_and_only_that() {
        for (check, asked) in ALL {
            for lost in ["http", "tcp", "udp"] {
                let fake = Fake::healthy().rule(move |p| (protocol(p.action) == lost).then(timeout));
                let word = if asked == lost { "fail" } else { "pass" };
                fake.expect(check, instance(check), word).await;
            }
        }
    }

    #[tokio::test]
    async fn one_broken_pair_is_named() {
        let fake = Fake::healthy()
            .rule(|p| (p.from.node.as_str() == "infra-2" && p.to_node() == Some("apps-3")).then(timeout));
        let text = fake.expect(&HTTP_OTHER_CLUSTER, infra_to_apps(), "fail").await;
        assert!(text.contains("HTTP: infra-2 -> apps-3"), "{text}");
        assert!(text.contains("8 other pairs"), "{text}");
    }

    #[tokio::test]
    async fn a_mesh_that_is_away_reads_in_seconds() {
        let fake = Fake::healthy().rule(|p| {
            (p.to.is_some_and(|to| to.id.cluster != p.from.id.cluster) && protocol(p.action) != "other").then(timeout)
        });
        let text = fake.expect(&TCP_OTHER_CLUSTER, infra_to_apps(), "fail").await;
        assert!(text.contains("TCP: all 9 pairs infra -> apps"), "{text}");
        assert!(text.contains("the path between the clusters fails"), "{text}");
    }

    #[tokio::test]
    async fn a_protocol_that_alone_fails_is_not_blamed_on_the_path() {
        let fake = Fake::healthy().rule(|p| (protocol(p.action) == "udp").then(timeout));
        let text = fake.expect(&UDP_OTHER_CLUSTER, infra_to_apps(), "fail").await;
        assert!(text.contains("HTTP is answered on 9 of the same 9 pairs"), "{text}");
        assert!(!text.contains("the path between the clusters fails"), "{text}");
    }

    #[tokio::test]
    async fn a_wrong_server_is_red_even_if_others_answer_rightly() {
        let fake = Fake::healthy().rule(|p| {
            let wrong = p.from.node.as_str() == "infra-1" && p.to_node() == Some("infra-3") && p.number == 0;
            wrong.then(|| p.answered_as(identity_of("apps", "apps-1", "server")))
        });
        for check in [&HTTP_OTHER_NODE, &TCP_OTHER_NODE, &UDP_OTHER_NODE] {
            let text = fake.clone().expect(check, infra(), "fail").await;
            assert!(text.contains("answered by apps/apps-1/server-apps-1"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_single_lost_packet_is_not_red_but_recorded() {
        let fake = Fake::healthy().rule(|p| (p.batch == 0 && p.to_node() == Some("infra-2")).then(timeout));
        let text = fake.expect(&HTTP_OTHER_NODE, infra(), "pass").await;
        assert!(text.contains("silent at the first look, right at the second"), "{text}");
    }

    #[tokio::test]
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
        let text = fake.expect(&HTTP_SAME_NODE, infra(), "fail").await;
        assert!(text.contains("HTTP status 503"), "{text}");
    }

    #[tokio::test]
    async fn what_the_harness_could_not_see_is_inconclusive() {
        for (check, _) in ALL {
            Fake::healthy()
                .local_errors()
                .expect(check, instance(check), "inconclusive")
                .await;
            Fake::healthy()
                .agents_gone()
                .expect(check, instance(check), "inconclusive")
                .await;
            Fake::healthy()
                .missing("server", "infra-1")
                .missing("server", "apps-1")
                .expect(check, instance(check), "inconclusive")
                .await;
            Fake::healthy()
                .without_agents()
                .expect(check, instance(check), "inconclusive")
                .await;
        }
    }
}
