//! What may come out of each peer's tunnel, and is sent into it, is what belongs to that node.

use super::STATUS_NEEDS;
use crate::kit::cilium::nodes::MeshNode;
use super::peers::{Device, Mesh};
use async_trait::async_trait;
use ipnet::IpNet;
use meshproof_contract::facts::{CiliumFacts, PodNetwork};
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, Facts, Needs, Scope, Tally, Verdict};
use std::net::IpAddr;

/// Allowed addresses by the word of the agents.
pub struct AllowedIps;

/// What a peer must allow, and what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Tunnel mode since 1.18: packets are wrapped first, so the node's own address is all that the tunnel carries.
    NodeOnly,
    /// Tunnel mode before: the node's address, and its pods' too.
    NodeAndMaybePods,
    /// Native routing: the node's pods travel as they are.
    Pods,
}

impl Rule {
    fn of(cilium: &CiliumFacts) -> Result<Self, String> {
        match cilium.config.get("routing-mode").map(String::as_str) {
            Some("native") => Ok(Rule::Pods),
            // The agent's default is tunnel.
            Some("tunnel") | None if !cilium.config.is_empty() => Ok(match minor(&cilium.version) {
                Some(minor) if minor < 18 => Rule::NodeAndMaybePods,
                _ => Rule::NodeOnly,
            }),
            Some(other) => Err(format!("routing-mode {other:?} is not known")),
            None => Err("cilium-config could not be read, so the routing mode is not known".to_owned()),
        }
    }
    fn words(self) -> &'static str {
        match self {
            Rule::NodeOnly => "the node's own address and nothing else (tunnel mode)",
            Rule::NodeAndMaybePods => "the node's own address, and nothing but its own and its pods' (tunnel mode)",
            Rule::Pods => "the node's pods, and nothing but its own and its pods' addresses (native routing)",
        }
    }
}

/// The minor version of `1.18.3`.
fn minor(version: &str) -> Option<u32> {
    let mut parts = version.trim_start_matches('v').split('.');
    (parts.next()? == "1").then_some(())?;
    parts.next()?.parse().ok()
}

#[async_trait]
impl Check for AllowedIps {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::allowed_ips")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "Each WireGuard peer's allowed addresses are what the routing mode demands, and nothing more",
            proves: "What belongs to a node can be sent into its tunnel and is accepted out of it, and no node is trusted with addresses of another.",
            how: "`allowed-ips` of every peer in `cilium-dbg debuginfo --output json`. In tunnel mode they must be the node's own address (before Cilium 1.18 its pods' too are tolerated), with native routing they must cover the pods of this run on that node; an address that is neither the node's nor out of its pods' range is too much.",
            control: "Every node must have an agent that shows its peers; a peer without any address is red, and missing peers are encryption::peers_complete's.",
            when_red: "`kubectl --context CONTEXT -n kube-system exec POD -c cilium-agent -- cilium-dbg bpf ipcache list` on the node named: allowed addresses follow the ipcache; too few drop traffic, too many let a node speak for others.",
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
            None => Err(format!("no Cilium was found in {}", mesh.cluster)),
        };
        let rule = match rule {
            Ok(rule) => rule,
            Err(why) => return Verdict::inconclusive(why),
        };
        let mut right = 0;
        for device in mesh.devices(context, &mut tally).await {
            for other in mesh.others(&device.node) {
                right += usize::from(judge(&device, other, &mesh, rule, &facts, &mut tally));
            }
        }
        if right > 0 {
            tally.witness(format!(
                "{right} peers of nodes of {} allow {}",
                mesh.cluster,
                rule.words()
            ));
        }
        tally.verdict()
    }
}

/// Whether a peer allows what it should.
fn judge(device: &Device, other: &MeshNode, mesh: &Mesh, rule: Rule, facts: &Facts, tally: &mut Tally) -> bool {
    let Some(peer) = device.peer(other) else { return false };
    let subject = format!("{}, peer {}", device.node.place(), other.place());
    let expected = format!("{}: {}", rule.words(), mesh.claimed.by);
    let mut allowed: Vec<IpNet> = Vec::new();
    for text in &peer.allowed_ips {
        match text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        {
            Ok(net) => allowed.push(net),
            Err(_) => {
                tally.unknown(format!("{subject}: an allowed address is not understood: {text:?}"));
                return false;
            }
        }
    }
    let covers = |address: &IpAddr| allowed.iter().any(|net| net.contains(address));
    let endpoint = super::peers::endpoint(peer);
    let required: Vec<IpAddr> = match rule {
        Rule::NodeOnly | Rule::NodeAndMaybePods => endpoint.into_iter().collect(),
        Rule::Pods => pods_on(facts, other),
    };
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
            format!("allows [{}], not {}", peer.allowed_ips.join(", "), lacking.join(", ")),
        );
    }
    if !excess.is_empty() {
        tally.finding(
            &subject,
            &expected,
            format!("allows {} too, which is not that node's", excess.join(", ")),
        );
    }
    !allowed.is_empty() && lacking.is_empty() && excess.is_empty()
}

/// The addresses of this run's pods on a node.
fn pods_on(facts: &Facts, node: &MeshNode) -> Vec<IpAddr> {
    let on = |a: &&meshproof_contract::AgentFacts| {
        a.network == PodNetwork::Pod && a.id.cluster == node.cluster && a.node == node.name
    };
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
    // Where pods get addresses from is not told by every IPAM mode; then one address counts as the node's unless another node has it.
    let untold = node.pod_cidrs.is_empty() && is_host && {
        let mut others = mesh.nodes.iter().filter(|other| *other != node);
        !others.any(|other| other.has(net.addr()) || other.pod_cidrs.iter().any(|cidr| cidr.contains(net)))
    };
    in_own_range || reserved || untold
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
