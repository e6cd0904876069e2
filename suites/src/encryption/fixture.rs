//! Two clusters that claim WireGuard, with the scenario's agents.

use crate::fake::Fake;
use meshproof_contract::facts::PodNetwork;
use meshproof_contract::{AgentFacts, AgentId, Claim, ClaimKind, ClaimSource, Facts};

/// A claim of encryption.
pub fn claim(cluster: &str, value: &str) -> Claim {
    Claim {
        cluster: cluster.into(),
        kind: ClaimKind::Encryption,
        value: value.to_owned(),
        source: ClaimSource::Live {
            object: "ConfigMap kube-system/cilium-config: enable-wireguard".to_owned(),
        },
    }
}

/// The fake's two clusters with this suite's agents.
pub fn facts() -> Facts {
    let mut facts = Fake::healthy().facts;
    for (cluster, pods, first_node) in [("infra", 244, 11), ("apps", 246, 14)] {
        facts.claims.push(claim(cluster, "wireguard"));
        for n in 1..=3u8 {
            for (workload, network, address) in [
                ("talker", PodNetwork::Pod, format!("10.{pods}.{n}.20")),
                ("listener", PodNetwork::Pod, format!("10.{pods}.{n}.21")),
                ("capture", PodNetwork::HostCapture, format!("10.25.11.{}", first_node + n - 1)),
            ] {
                facts.agents.push(AgentFacts {
                    id: AgentId {
                        cluster: cluster.into(),
                        pod: format!("{workload}-{cluster}-{n}"),
                    },
                    scenario: "encryption".to_owned(),
                    workload: workload.to_owned(),
                    namespace: "meshproof".to_owned(),
                    node: format!("{cluster}-{n}").into(),
                    address: address.parse().expect("an address"),
                    network,
                });
            }
        }
    }
    facts
}
