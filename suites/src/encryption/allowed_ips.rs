//! The allowed IPs of each WireGuard peer: what may come out of its tunnel and is sent into it belongs to that node.

use super::{
    STATUS_NEEDS,
    peers::{Device, Mesh},
};
use crate::kit::{cilium::nodes::MeshNode, recent::Age, version::Minor};
use async_trait::async_trait;
use ipnet::IpNet;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, Facts, Needs, Scope, Tally, Verdict,
    facts::{CiliumFacts, PodNetwork},
};
use std::net::IpAddr;

/// Allowed IPs as the agents report them.
pub struct AllowedIps;

/// Since this version the rules are others.
const TUNNELS_NODES_ONLY: Minor = Minor::new(1, 18);

/// What a peer must allow, and what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Tunnel mode since 1.18: packets are wrapped first, so the node's own address is all that the tunnel carries.
    NodeOnly,
    /// Tunnel mode before: the node's address, and its pods' too.
    NodeAndMaybePods,
    /// Native routing: the node's pods travel as they are.
    Pods,
    /// The same since 1.18 where each node has pod CIDRs: also these, so that pods that come are reached at once
    /// (semantics C3).
    PodsAndCidrs,
}

impl Rule {
    fn of(cilium: &CiliumFacts) -> Result<Self, String> {
        match cilium.setting("routing-mode") {
            Some("native") => {
                let has_cidrs = cilium
                    .setting("ipam")
                    .is_some_and(|ipam| ["kubernetes", "cluster-pool"].contains(&ipam));
                let recent = Minor::read(&cilium.version).is_some_and(|version| version >= TUNNELS_NODES_ONLY);
                Ok(if has_cidrs && recent {
                    Rule::PodsAndCidrs
                } else {
                    Rule::Pods
                })
            }
            // The agent's default is tunnel.
            Some("tunnel") | None if !cilium.config.is_empty() => Ok(match Minor::read(&cilium.version) {
                Some(version) if version < TUNNELS_NODES_ONLY => Rule::NodeAndMaybePods,
                _ => Rule::NodeOnly,
            }),
            Some(other) => Err(format!("unknown routing-mode {other:?} in cilium-config")),
            None => Err("cannot read cilium-config, so the routing mode is unknown".to_owned()),
        }
    }
    fn describe(self) -> &'static str {
        match self {
            Rule::NodeOnly => "only the node's own address (tunnel mode)",
            Rule::NodeAndMaybePods => "the node's own address, and no others except its pods' (tunnel mode)",
            Rule::Pods => "the node's pod addresses, and no others except its own (native routing)",
            Rule::PodsAndCidrs => "the node's pod addresses and CIDRs, and no others except its own (native routing)",
        }
    }
}

/// Whether the cluster routes pods' packets as they are, in no tunnel of Cilium's.
pub fn is_native(cilium: &CiliumFacts) -> Result<bool, String> {
    Rule::of(cilium).map(|rule| matches!(rule, Rule::Pods | Rule::PodsAndCidrs))
}

#[async_trait]
impl Check for AllowedIps {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::allowed_ips")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "The allowed IPs of every WireGuard peer are those that the routing mode requires",
            proves: "Traffic of a node's addresses can use its tunnel in both directions, and no node can use \
                     addresses of another node.",
            how: "`allowed-ips` of every peer in `cilium-dbg debuginfo --output json`: in tunnel mode the node's own \
                  address (before Cilium 1.18 also its pods'), with native routing at least this run's pods on that \
                  node and, since 1.18, its pod CIDRs. Any address that is neither the node's nor in its pod CIDRs is \
                  a finding.",
            control: "Every node must have an agent that shows its peers; otherwise the check is inconclusive. A peer \
                      without allowed IPs is a finding; encryption::peers_complete reports missing peers.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec AGENT_POD -c cilium-agent -- cilium-dbg bpf \
                       ipcache list` on the node in the finding: allowed IPs follow the ipcache. Too few drop \
                       traffic; too many let a node use addresses of others.",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        STATUS_NEEDS
    }
    fn faults(&self) -> &'static [&'static str] {
        &["wireguard-allowed-ips-wide", "wireguard-allowed-ips-narrow"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let mut tally = Tally::new();
        let mesh = match Mesh::of(context, &mut tally).await {
            Ok(mesh) => mesh,
            Err(verdict) => return verdict,
        };
        let facts = context.environment.facts();
        let rule = match facts.cluster(&mesh.cluster).and_then(|c| c.cilium.as_ref()) {
            Some(cilium) => Rule::of(cilium),
            None => Err(format!("Cilium was not found in {}", mesh.cluster)),
        };
        let rule = match rule {
            Ok(rule) => rule,
            Err(why) => return Verdict::inconclusive(why),
        };
        let mut correct = 0;
        for device in mesh.devices(context, Age::STATE, &mut tally).await {
            for other in mesh.others(&device.node) {
                correct += usize::from(judge(&device, other, &mesh, rule, &facts, &mut tally));
            }
        }
        if correct > 0 {
            tally.witness(format!(
                "{correct} peers of the nodes of {} allow {}",
                mesh.cluster,
                rule.describe()
            ));
        }
        tally.verdict()
    }
}

/// Whether a peer allows what it should.
fn judge(device: &Device, other: &MeshNode, mesh: &Mesh, rule: Rule, facts: &Facts, tally: &mut Tally) -> bool {
    let Some(peer) = device.peer(other) else { return false };
    let subject = format!("{}, peer {}", device.node.label(), other.label());
    let expected = mesh.claimed.expects(format_args!("allowed IPs: {}", rule.describe()));
    let mut allowed: Vec<IpNet> = Vec::new();
    for text in &peer.allowed_ips {
        match text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        {
            Ok(net) => allowed.push(net),
            Err(_) => {
                tally.unknown(format!("{subject}: invalid allowed IP {text:?}"));
                return false;
            }
        }
    }
    let covers = |range: &IpNet| allowed.iter().any(|net| net.contains(range));
    let endpoint = super::peers::endpoint(peer);
    let mut required: Vec<IpNet> = match rule {
        Rule::NodeOnly | Rule::NodeAndMaybePods => endpoint.into_iter().map(IpNet::from).collect(),
        Rule::Pods | Rule::PodsAndCidrs => pods_on(facts, other).into_iter().map(IpNet::from).collect(),
    };
    if rule == Rule::PodsAndCidrs {
        // Of a family that Cilium does not serve it allows nothing.
        let served = |cidr: &&IpNet| required.iter().any(|pod| pod.addr().is_ipv4() == cidr.addr().is_ipv4());
        let cidrs: Vec<IpNet> = other.pod_cidrs.iter().filter(served).copied().collect();
        required.extend(cidrs);
    }
    let lacking: Vec<String> = required
        .iter()
        .filter(|a| !covers(a))
        .map(ToString::to_string)
        .collect();
    let excess: Vec<String> = allowed
        .iter()
        .filter(|net| !belongs(net, other, mesh, rule))
        .map(ToString::to_string)
        .collect();
    if allowed.is_empty() || !lacking.is_empty() {
        tally.finding(
            &subject,
            &expected,
            format!(
                "allows [{}]; missing: [{}]",
                peer.allowed_ips.join(", "),
                lacking.join(", ")
            ),
        );
    }
    if !excess.is_empty() {
        tally.finding(
            &subject,
            &expected,
            format!("also allows {}, which does not belong to that node", excess.join(", ")),
        );
    }
    !allowed.is_empty() && lacking.is_empty() && excess.is_empty()
}

/// The addresses of this run's pods on a node.
fn pods_on(facts: &Facts, node: &MeshNode) -> Vec<IpAddr> {
    let on = |a: &&AgentFacts| a.network == PodNetwork::Pod && a.id.cluster == node.cluster && a.node == node.name;
    facts.agents.iter().filter(on).map(|a| a.address).collect()
}

/// Whether a prefix holds nothing but addresses of the node.
fn belongs(net: &IpNet, node: &MeshNode, mesh: &Mesh, rule: Rule) -> bool {
    let is_host = net.prefix_len() == net.max_prefix_len();
    if is_host && node.has(net.addr()) {
        return true;
    }
    if rule == Rule::NodeOnly {
        return false;
    }
    let in_own_range = node.pod_cidrs.iter().any(|cidr| cidr.contains(net));
    let reserved = is_host && node.reserved.contains(&net.addr());
    // Not every IPAM mode reports where pods get addresses from; then an address counts as the node's unless another
    // node has it.
    let unreported = node.pod_cidrs.is_empty() && is_host && {
        let mut others = mesh.nodes.iter().filter(|other| *other != node);
        !others.any(|other| other.has(net.addr()) || other.pod_cidrs.iter().any(|cidr| cidr.contains(net)))
    };
    in_own_range || reserved || unreported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_follows_routing_mode_and_version() {
        let cilium = |version: &str, mode: Option<&str>| CiliumFacts {
            version: version.to_owned(),
            config: mode
                .map(|mode| ("routing-mode".to_owned(), mode.to_owned()))
                .into_iter()
                .chain([("cluster-name".to_owned(), "infra".to_owned())])
                .collect(),
            agents: Default::default(),
            remotes: None,
            kvstoremesh: false,
        };
        assert_eq!(Rule::of(&cilium("1.18.3", Some("tunnel"))), Ok(Rule::NodeOnly));
        assert_eq!(Rule::of(&cilium("1.17.9", None)), Ok(Rule::NodeAndMaybePods));
        assert_eq!(Rule::of(&cilium("1.19.0", Some("native"))), Ok(Rule::Pods));
        assert!(Rule::of(&cilium("1.19.0", Some("odd"))).is_err());
    }
}
