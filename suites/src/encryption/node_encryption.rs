//! Node encryption: which nodes encrypt what they send themselves, by their agents' word and on the wire.

use super::{
    CAPTURE, LISTENER, STATUS_NEEDS, TALKER, TRAFFIC_NEEDS,
    capture::Capture,
    capture_point::NodeEncryption,
    claim::{self, Claimed, Mode},
    flow::Flow,
    flows,
    judge::Reading,
    peers::{agents, on_other_nodes},
};
use crate::kit::{
    cilium::nodes::{self, MeshNode, meshed},
    paths::sample,
    recent::Age,
};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, CiliumQuery, ClaimKind, ClusterName, Facts, Needs, NodeLabel,
    Scope, Tally, Verdict,
};

/// Node encryption as the agents report it.
pub struct InForce;

/// What nodes send, on the wire.
pub struct Traffic;

/// What is claimed of the nodes' own traffic. Needs WireGuard, without which Cilium ignores the setting.
fn claimed(facts: &Facts, cluster: &ClusterName) -> Result<Claimed, Verdict> {
    let Some(claim) = facts.claim(cluster, ClaimKind::NodeEncryption) else {
        let kind = ClaimKind::NodeEncryption;
        return Err(Verdict::skipped(format!("not claimed: {kind}")));
    };
    let by = format!("node-encryption={}; source: {}", claim.value, claim.source);
    match claim::of(facts, cluster)? {
        pods if pods.mode == Mode::WireGuard => Ok(Claimed {
            mode: Mode::WireGuard,
            by,
            promised: true,
        }),
        pods => {
            let mut tally = Tally::new();
            let expected = format!("node encryption in force (claimed: {by})");
            let observed = format!("{}; only WireGuard encrypts what nodes send", pods.by);
            tally.finding(cluster.to_string(), expected, observed);
            Err(tally.verdict())
        }
    }
}

#[async_trait]
impl Check for InForce {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::node_encryption_in_force")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Every Cilium agent encrypts what its own node sends",
            proves: "Node encryption is in force where it is claimed. A node that is exempt by its labels sends and \
                     receives its own traffic in plaintext; a cluster of such nodes alone has no node encryption.",
            how: "`.encryption.wireguard.\"node-encryption\"` in `cilium-dbg status -o json` of every agent must be \
                  Enabled, or OptedOut on some nodes of the cluster but not on all: by default control planes opt out \
                  (`node-encryption-opt-out-labels` in `cilium-config`). The nodes that opted out are noted.",
            control: "Every node must have an agent that answers and reports the mode; otherwise the check is \
                      inconclusive.",
            when_red: "Disabled: the agent runs with other settings than its neighbours, `kubectl --context CONTEXT -n \
                       kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg config -a | grep EncryptNode`; a \
                       changed ConfigMap takes effect only after the agents restart. OptedOut everywhere: set \
                       `node-encryption-opt-out-labels` to a label that no node has.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::NodeEncryption),
            ..STATUS_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["node-encryption-off", "node-encryption-opted-out"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let claimed = match claimed(&facts, cluster) {
            Ok(claimed) => claimed,
            Err(verdict) => return verdict,
        };
        let mut tally = Tally::new();
        let asked = std::slice::from_ref(cluster);
        let answers = nodes::ask(context, asked, CiliumQuery::Status, Age::STATE, &mut tally).await;
        let (mut enabled, mut opted_out) = (0, Vec::new());
        for answer in &answers {
            let at = NodeLabel::pod(&answer.cluster, &answer.node).to_string();
            let shown = &answer.output["encryption"]["wireguard"]["node-encryption"];
            match (shown.as_str(), NodeEncryption::of(&answer.output)) {
                (_, NodeEncryption::Enabled) => enabled += 1,
                (_, NodeEncryption::OptedOut) => opted_out.push(at),
                (Some(other), _) => {
                    let expected = claimed.expects("node-encryption Enabled or OptedOut");
                    tally.finding(at, expected, format!("node-encryption {other}"));
                }
                // Without WireGuard the agent does not say: encryption::mode_in_force tells it.
                (None, _) => tally.unknown(format!("{at}: `cilium-dbg status` does not report node-encryption")),
            }
        }
        if !opted_out.is_empty() {
            context.note(format!("opted out by their labels: {}", opted_out.join(", ")));
        }
        if enabled > 0 {
            tally.witness(format!(
                "{enabled} of {} agents of {cluster} encrypt what their nodes send; {} opted out",
                answers.len(),
                opted_out.len()
            ));
        } else if !opted_out.is_empty() && opted_out.len() == answers.len() {
            tally.finding(
                cluster.to_string(),
                claimed.expects("nodes that encrypt what they send"),
                format!(
                    "all {} nodes opted out: nothing that nodes send is encrypted",
                    opted_out.len()
                ),
            );
        }
        tally.verdict()
    }
}

#[async_trait]
impl Check for Traffic {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::node_traffic")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "What nodes send to other nodes and their pods is not readable between the nodes",
            proves: "TCP and UDP between nodes, from nodes to pods of other nodes and back are encrypted on every node \
                     pair, in both directions, where node encryption is claimed.",
            how: "As encryption::pod_traffic, but the markers go from a host-network pod to host-network pods and to \
                  pods of other nodes, and from a pod to other nodes. Nodes that opted out, and clusters that do not \
                  claim node encryption, are left out and noted.",
            control: "Every node also sends a marker to an address outside, which is not encrypted, and its capture \
                      must see it; no packet may be dropped, every flow must arrive, and at least the payload's \
                      volume of WireGuard ciphertext must be seen between the two nodes. Anything missing is \
                      inconclusive.",
            when_red: "The evidence shows the packet. On the node that sent it, run `kubectl --context CONTEXT -n \
                       kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf ipcache list`: `encryptkey=0` at \
                       the other node's address means that it is sent in plaintext; the other node's CiliumNode has \
                       the key (`spec.encryption`).",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::NodeEncryption),
            ..TRAFFIC_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["node-encryption-off", "plaintext-node-traffic"]
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        &["capture-wrong-device"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let claimed = match claimed(&facts, cluster) {
            Ok(claimed) => claimed,
            Err(verdict) => return verdict,
        };
        let (clusters, others): (Vec<ClusterName>, Vec<ClusterName>) = meshed(&facts, cluster)
            .into_iter()
            .partition(|other| facts.claim(other, ClaimKind::NodeEncryption).is_some());
        for other in others {
            context.note(format!("{other} does not claim node encryption, so it was left out"));
        }
        let mut tally = Tally::new();
        let Some(capture) = Capture::prepare(context, &clusters, &mut tally).await else {
            return tally.verdict();
        };
        let exempt = capture
            .points()
            .iter()
            .filter(|p| p.node_encryption == NodeEncryption::OptedOut);
        let exempt: Vec<&MeshNode> = exempt.map(|point| &point.node).collect();
        if !exempt.is_empty() {
            let names: Vec<String> = exempt.iter().map(|node| node.label().to_string()).collect();
            context.note(format!(
                "opted out of node encryption, so left out: {}",
                names.join(", ")
            ));
        }
        let takes_part = |agent: &&AgentFacts| {
            let is = |node: &&MeshNode| node.cluster == agent.id.cluster && node.name == agent.node;
            !exempt.iter().any(is)
        };
        let flows = || -> Result<Vec<Flow>, Verdict> {
            let all = between(&facts, cluster, &clusters, takes_part);
            match all.is_empty() {
                true => Err(Verdict::inconclusive(format!(
                    "no two nodes of {cluster} and its mesh take part in node encryption"
                ))),
                false => Ok(all),
            }
        };
        let window = match capture.observe(context, flows).await {
            Ok(window) => window,
            Err(verdict) => return verdict,
        };
        let subject = format!("nodes of {cluster}");
        Reading::of(&window).conclude(context, &claimed, &subject, &mut tally);
        tally.verdict()
    }
}

/// Between each two nodes that take part: host to host, host to pod, pod to host.
fn between(
    facts: &Facts,
    cluster: &ClusterName,
    clusters: &[ClusterName],
    takes_part: impl Fn(&&AgentFacts) -> bool,
) -> Vec<Flow> {
    let of = |cluster, workload| agents(facts, cluster, workload).filter(&takes_part).collect::<Vec<_>>();
    let (hosts, pods) = (of(cluster, CAPTURE), of(cluster, TALKER));
    let mut all = Vec::new();
    for other in clusters {
        let (their_hosts, their_pods) = (of(other, CAPTURE), of(other, LISTENER));
        let ways = [(&hosts, &their_hosts), (&hosts, &their_pods), (&pods, &their_hosts)];
        for (from, to) in ways {
            let (pairs, _) = sample::pairs(facts, from, to, on_other_nodes);
            all.extend(pairs.into_iter().flat_map(|(a, b)| flows::with_hosts(a, b)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encryption::tests::{
            wire::Shown,
            world::{World, claim},
        },
        testing::infra,
    };
    use meshproof_contract::{Action, Claim};
    use serde_json::{Value, json};

    fn world() -> World {
        let mut world = World::healthy().status(|_, status| set(status, "Enabled"));
        for cluster in ["infra", "apps"] {
            world.facts.claims.push(Claim {
                kind: ClaimKind::NodeEncryption,
                ..claim(cluster, "true")
            });
        }
        world.hosts(|_, _| Shown::Ciphertext)
    }

    fn set(status: &mut Value, word: &str) {
        status["encryption"]["wireguard"]["node-encryption"] = json!(word);
    }

    #[tokio::test(start_paused = true)]
    async fn agents_that_do_not_encrypt_what_nodes_send_are_red() {
        world().expect(&InForce, infra(), "pass").await;
        let some = |word: &'static str, nodes: &'static [&'static str]| {
            world().status(move |node, status| set(status, if nodes.contains(&node) { word } else { "Enabled" }))
        };
        let said = some("Disabled", &["infra-2"]).expect(&InForce, infra(), "fail").await;
        assert!(said.contains("infra-2"), "{said}");
        let said = some("OptedOut", &["infra-1"]).expect(&InForce, infra(), "pass").await;
        assert!(said.contains("1 opted out"), "{said}");
        let all = some("OptedOut", &["infra-1", "infra-2", "infra-3"]);
        let said = all.expect(&InForce, infra(), "fail").await;
        assert!(said.contains("all 3 nodes opted out"), "{said}");
        let mut ipsec = world().claims("ipsec");
        ipsec.facts.claims.retain(|c| c.cluster.as_str() == "infra");
        ipsec.expect(&InForce, infra(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_nodes_send_in_clear_is_red_unless_one_of_them_opted_out() {
        let said = world().expect(&Traffic, infra(), "pass").await;
        assert!(said.contains("flows of nodes of infra"), "{said}");
        let leak = |from: &str, to: &str| match (from, to) {
            ("infra-1", "infra-2") => Shown::Everything,
            _ => Shown::Ciphertext,
        };
        let said = world().hosts(leak).expect(&Traffic, infra(), "fail").await;
        assert!(said.contains("infra-1"), "{said}");
        let exempt = world()
            .hosts(leak)
            .status(|node, status| set(status, if node == "infra-2" { "OptedOut" } else { "Enabled" }));
        exempt.expect(&Traffic, infra(), "pass").await;
        let pods = |from: &str, to: &str, _: &Action| match (from, to) {
            ("infra-1", "infra-2") => Shown::Headers,
            _ => Shown::Ciphertext,
        };
        world().wire(pods).expect(&Traffic, infra(), "fail").await;
    }
}
