//! In strict mode, traffic that no node can decrypt does not leave its node.

use super::{
    TALKER, TRAFFIC_NEEDS,
    capture::Capture,
    claim::{Claimed, Mode},
    flow::Flow,
    flows,
    judge::Reading,
    peers::agents,
    traffic_kind::TrafficKind,
};
use crate::kit::cilium::nodes::MeshNode;
use async_trait::async_trait;
use ipnet::Ipv4Net;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClaimKind, ClusterName, Facts, Needs, NodeLabel, Scope, Tally,
    Verdict,
};
use std::net::{IpAddr, Ipv4Addr};

/// Strict mode of transparent encryption.
pub struct StrictMode;

/// Keys of `cilium-config`: the switch, and the range in which it holds. The second pair is Cilium 1.19's
/// (`daemon/cmd/daemon_main.go`, where it deprecates the first).
const KEYS: [(&str, &str); 2] = [
    ("enable-encryption-strict-mode", "encryption-strict-mode-cidr"),
    ("enable-encryption-strict-mode-egress", "encryption-strict-egress-cidr"),
];
/// Addresses of the range tried, from its end, until one is found that no node announces.
const TRIED: u32 = 4096;

#[async_trait]
impl Check for StrictMode {
    fn id(&self) -> CheckId {
        CheckId::from("encryption::strict_mode")
    }
    fn text(&self) -> CheckText {
        CheckText {
            title: "In strict mode, traffic that no node can decrypt does not leave its node",
            proves: "Traffic to a pod address without a known key is dropped instead of sent in plaintext, for \
                     example while the announcement of a new node is late.",
            how: "A pod on every node sends a random marker over UDP and a SYN to an address of the strict mode range \
                  (from `cilium-config`) that is in no CiliumNode's `podCIDRs`, so that no node is a peer for it. \
                  Neither the marker nor the address may be seen on any device between nodes.",
            control: "The controls of encryption::pod_traffic in the same window: markers sent in plaintext on \
                      purpose must be seen, and what the same pods send to pods of other nodes must arrive as \
                      ciphertext. Without an unannounced address the check is inconclusive.",
            when_red: "The evidence shows the packet. Run `kubectl --context CONTEXT -n kube-system exec AGENT_POD -c \
                       cilium-agent -- cilium-dbg config -a | grep -i strict` on that node: the ConfigMap takes \
                       effect only after the agents restart; packets with the node's address as source were \
                       masqueraded first (`enable-bpf-masquerade`).",
        }
    }
    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs {
            claim: Some(ClaimKind::StrictEncryption),
            ..TRAFFIC_NEEDS
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &["strict-mode-ignored"]
    }
    fn blinded_by(&self) -> &'static [&'static str] {
        &["capture-wrong-device"]
    }
    fn dimmed_by(&self) -> &'static [&'static str] {
        super::PAIR_CUT_OFF
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let strict = match Strict::of(&facts, cluster) {
            Ok(strict) => strict,
            Err(verdict) => return verdict,
        };
        let talkers: Vec<AgentFacts> = agents(&facts, cluster, TALKER).cloned().collect();
        let mut tally = Tally::new();
        for outside in talkers.iter().filter(|talker| !strict.holds(talker.address)) {
            tally.finding(
                NodeLabel::from(outside).to_string(),
                strict.claimed.expects("all pod addresses in the strict mode range"),
                format!("a pod has {}", outside.address),
            );
        }
        if tally.has_findings() {
            return tally.verdict();
        }
        // Of the whole mesh, since a node of any cluster may be the peer of an address.
        let clusters: Vec<ClusterName> = facts.clusters.iter().map(|cluster| cluster.name.clone()).collect();
        let Some(capture) = Capture::prepare(context, &clusters, &mut tally).await else {
            return tally.verdict();
        };
        let nobody = match strict.unannounced(&capture.nodes) {
            Ok(nobody) => IpAddr::from(nobody),
            Err(why) => {
                tally.unknown(why);
                return tally.verdict();
            }
        };
        let flows = || -> Result<Vec<Flow>, Verdict> {
            let mut all = flows::of(TrafficKind::Pods, &facts, &context.instance)?;
            all.extend(talkers.iter().flat_map(|talker| flows::withheld(talker, nobody)));
            Ok(all)
        };
        let window = match capture.observe(context, flows).await {
            Ok(window) => window,
            Err(verdict) => return verdict,
        };
        let subject = format!("pods of {cluster}");
        Reading::of(&window).conclude(context, &strict.claimed, &subject, &mut tally);
        tally.verdict()
    }
}

/// Strict mode as the live configuration has it.
struct Strict {
    range: Ipv4Net,
    claimed: Claimed,
}

impl Strict {
    fn of(facts: &Facts, cluster: &ClusterName) -> Result<Self, Verdict> {
        let claim = facts.claim(cluster, ClaimKind::StrictEncryption);
        let source = claim.map_or_else(String::new, |claim| format!("; source: {}", claim.source));
        let config = facts
            .cluster(cluster)
            .and_then(|c| c.cilium.as_ref())
            .map(|c| &c.config);
        let Some(config) = config.filter(|config| !config.is_empty()) else {
            return Err(Verdict::inconclusive(format!(
                "cannot read ConfigMap cilium-config of {cluster}, so the strict mode range is unknown"
            )));
        };
        let on = KEYS
            .iter()
            .find(|(switch, _)| config.get(*switch).is_some_and(|value| value == "true"));
        let Some((switch, key)) = on else {
            let mut tally = Tally::new();
            tally.finding(
                cluster.to_string(),
                format!("strict mode on (claimed: strict-encryption=true{source})"),
                format!("cilium-config has neither {} nor {}", KEYS[0].0, KEYS[1].0),
            );
            return Err(tally.verdict());
        };
        // Cilium 1.19 still reads the older name of the range.
        let range = KEYS
            .iter()
            .map(|(_, key)| key)
            .find_map(|key| config.get(*key)?.parse().ok());
        let range: Ipv4Net = range.ok_or_else(|| {
            Verdict::inconclusive(format!(
                "ConfigMap cilium-config of {cluster} has {switch}, but no valid range in {key}"
            ))
        })?;
        Ok(Self {
            range,
            claimed: Claimed {
                promised: true,
                mode: Mode::WireGuard,
                by: format!("strict mode for {range}{source}"),
            },
        })
    }

    fn holds(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if self.range.contains(&address))
    }

    /// An address of the range that no node announces: none of its own, and in no pod CIDR.
    fn unannounced(&self, nodes: &[MeshNode]) -> Result<Ipv4Addr, String> {
        if let Some(silent) = nodes.iter().find(|node| node.pod_cidrs.is_empty()) {
            return Err(format!(
                "{}: its CiliumNode has no podCIDRs, so unused addresses are unknown",
                silent.label()
            ));
        }
        let announced = |address: &Ipv4Addr| {
            let address = IpAddr::from(*address);
            nodes.iter().any(|node| {
                node.has(address)
                    || node.reserved.contains(&address)
                    || node.pod_cidrs.iter().any(|cidr| cidr.contains(&address))
            })
        };
        let (first, last) = (u32::from(self.range.network()), u32::from(self.range.broadcast()));
        let tried = (first..last).rev().step_by(self.step() as usize).take(TRIED as usize);
        tried
            .map(Ipv4Addr::from)
            .find(|address| !announced(address))
            .ok_or_else(|| {
                format!(
                    "no unused address found in {}: every address tried belongs to a node",
                    self.range
                )
            })
    }

    /// Between the addresses tried, so that the whole range is covered however large it is.
    fn step(&self) -> u32 {
        let size = u32::from(self.range.broadcast()) - u32::from(self.range.network());
        (size / TRIED).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::tests::{wire::Shown, world::World};
    use crate::testing::infra;
    use meshproof_contract::{Action, Claim, ClaimSource};

    fn strict(range: &str) -> World {
        let mut world = World::healthy();
        world.facts.claims.push(Claim {
            cluster: "infra".into(),
            kind: ClaimKind::StrictEncryption,
            value: "true".to_owned(),
            source: ClaimSource::File {
                path: "meshproof.yaml".to_owned(),
                line: 7,
            },
        });
        let infra = world.facts.clusters.iter_mut().find(|c| c.name.as_str() == "infra");
        let config = &mut infra.and_then(|c| c.cilium.as_mut()).expect("Cilium").config;
        config.insert(KEYS[0].0.to_owned(), "true".to_owned());
        config.insert(KEYS[0].1.to_owned(), range.to_owned());
        world
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_could_decrypt_must_not_be_seen() {
        let said = strict("10.244.0.0/16").expect(&StrictMode, infra(), "pass").await;
        assert!(said.contains("6 probes"), "{said}");
        let leaks = |_: &str, to: &str, _: &Action| match to {
            "" => Shown::Everything,
            _ => Shown::Ciphertext,
        };
        let said = strict("10.244.0.0/16")
            .wire(leaks)
            .expect(&StrictMode, infra(), "fail")
            .await;
        assert!(
            said.contains("strict mode for 10.244.0.0/16; source: meshproof.yaml:7"),
            "{said}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_what_it_takes_it_is_no_proof() {
        let silent = strict("10.244.0.0/16").report(|device| device.hits.clear());
        silent.expect(&StrictMode, infra(), "inconclusive").await;
        let hidden = strict("10.244.0.0/16").wire(|_, _, _| Shown::Nothing);
        hidden.expect(&StrictMode, infra(), "inconclusive").await;
        let said = strict("10.244.1.0/24").expect(&StrictMode, infra(), "fail").await;
        assert!(said.contains("a pod has 10.244.2.20"), "{said}");
        strict("none").expect(&StrictMode, infra(), "inconclusive").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_the_configuration_does_not_bear_out_is_red() {
        let mut world = strict("10.244.0.0/16");
        let infra_facts = world.facts.clusters.iter_mut().find(|c| c.name.as_str() == "infra");
        infra_facts
            .and_then(|c| c.cilium.as_mut())
            .expect("Cilium")
            .config
            .remove(KEYS[0].0);
        world.expect(&StrictMode, infra(), "fail").await;
    }

    #[test]
    fn the_whole_of_a_range_is_covered() {
        let of = |range: &str| Strict {
            range: range.parse().expect("a range"),
            claimed: Claimed {
                promised: true,
                mode: Mode::WireGuard,
                by: String::new(),
            },
        };
        let node = |cidr: &str| MeshNode {
            cluster: "infra".into(),
            name: "infra-1".into(),
            addresses: vec!["10.25.11.11".parse().expect("an address")],
            reserved: Vec::new(),
            pod_cidrs: vec![cidr.parse().expect("a CIDR")],
            announced_key: None,
        };
        let found = of("10.0.0.0/8")
            .unannounced(&[node("10.128.0.0/9")])
            .expect("half is free");
        assert!(found < Ipv4Addr::new(10, 128, 0, 0), "{found}");
        assert!(of("10.244.0.0/16").unannounced(&[node("10.244.0.0/16")]).is_err());
        let mut silent = node("10.244.0.0/16");
        silent.pod_cidrs.clear();
        assert!(of("10.0.0.0/8").unannounced(&[silent]).is_err());
    }
}
