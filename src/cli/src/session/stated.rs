//! What the operators say, put beside what was found. It is never adapted to what is there: that is for the checks to judge.

use super::consumer::Events;
use crate::config::Declared;
use meshproof_cluster::Discovery;
use meshproof_contract::{Generation, OutsideFacts, Thresholds};

/// What the operators say about the clusters of a run.
#[derive(Clone, Debug, Default)]
pub struct Stated {
    /// Claims of their files.
    pub claims: Declared,
    /// What they promise.
    pub thresholds: Thresholds,
    /// What they name of the world outside the clusters.
    pub outside: Vec<OutsideFacts>,
    /// How random policies are made.
    pub generation: Generation,
}

impl Stated {
    /// The claims of a cluster about which the operators say anything replace those of its live configuration. What its configuration shows
    /// and nobody claims is told, since its checks are skipped.
    pub fn put_into(&self, discovery: &mut Discovery, events: &Events) {
        let Discovery { clusters, claims, .. } = discovery;
        for claim in std::mem::take(claims) {
            let Some(stated) = self.claims.of_cluster(&claim.cluster) else {
                claims.push(claim);
                continue;
            };
            if claim.affirms() && !stated.iter().any(|s| s.kind == claim.kind) {
                events.warning(format!(
                    "{}: {} is {} ({}), which {} does not claim: what depends on it is skipped",
                    claim.cluster,
                    claim.kind,
                    claim.value,
                    claim.source,
                    self.claims.path()
                ));
            }
        }
        // A file may know more clusters than a run is given.
        let stated = clusters
            .iter()
            .filter_map(|cluster| self.claims.of_cluster(&cluster.name));
        claims.extend(stated.flatten().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use meshproof_contract::{Claim, ClaimKind, ClaimSource, ClusterFacts, Event};
    use std::path::Path;

    fn live(cluster: &str, kind: ClaimKind, value: &str) -> Claim {
        let object = "ConfigMap kube-system/cilium-config".to_owned();
        Claim {
            cluster: cluster.into(),
            kind,
            value: value.to_owned(),
            source: ClaimSource::Live { object },
        }
    }

    fn cluster(name: &str) -> ClusterFacts {
        ClusterFacts {
            name: name.into(),
            context: name.to_owned(),
            version: String::new(),
            nodes: Vec::new(),
            dns: None,
            cilium: None,
        }
    }

    #[test]
    fn a_files_claims_stand_as_written_and_a_cluster_without_any_keeps_its_own() {
        let config = Config::parse(
            "claims:\n  infra:\n    encryption: ipsec\n  edge: {policy: true}\n",
            Path::new("m.yaml"),
        )
        .expect("valid");
        let stated = Stated {
            claims: config.claims,
            thresholds: Thresholds::default(),
            ..Stated::default()
        };
        let mut discovery = Discovery::default();
        discovery.clusters = ["infra", "apps"].map(cluster).into();
        discovery.claims = vec![
            live("infra", ClaimKind::Encryption, "wireguard"),
            live("infra", ClaimKind::Policy, "default"),
            live("apps", ClaimKind::Encryption, "wireguard"),
        ];
        let (events, mut told) = Events::channel();
        stated.put_into(&mut discovery, &events);
        let shown: Vec<_> = discovery
            .claims
            .iter()
            .map(|c| format!("{} {} {} {}", c.cluster, c.kind, c.value, c.source))
            .collect();
        assert_eq!(
            shown,
            [
                "apps encryption wireguard live, ConfigMap kube-system/cilium-config",
                "infra encryption ipsec m.yaml:3",
            ]
        );
        let Ok(Event::Warning { message }) = told.try_recv() else {
            panic!("expected a warning about policy")
        };
        assert!(
            message.contains("policy is default") && message.contains("m.yaml does not claim"),
            "{message}"
        );
        assert!(told.try_recv().is_err(), "one warning");
    }
}
