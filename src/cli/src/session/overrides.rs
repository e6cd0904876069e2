//! What the operators state, put over what was found. It is never adapted to what is there: that is for the checks to
//! judge.

use super::consumer::Events;
use crate::config::{Config, Declared};
use meshproof_cluster::Discovery;
use meshproof_contract::{Flow, Generation, GitFacts, OutsideFacts, Thresholds};

/// What the operators state about the clusters of a run, and under which conditions it runs.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Claims of their files.
    pub claims: Declared,
    /// The service levels that they promise.
    pub thresholds: Thresholds,
    /// Hosts outside the clusters.
    pub outside: Vec<OutsideFacts>,
    /// How random policies are made.
    pub generation: Generation,
    /// What their repository says of Cilium.
    pub git: Option<GitFacts>,
    /// The flows that they have written down.
    pub flows: Vec<Flow>,
}

impl Overrides {
    /// The same with what a file states; what it leaves out stays as it is.
    pub fn with(self, config: &Config) -> Self {
        Self {
            claims: config.claims.clone(),
            thresholds: config.thresholds.over(self.thresholds),
            outside: if config.outside.is_empty() {
                self.outside
            } else {
                config.outside.clone()
            },
            generation: self.generation,
            git: self.git,
            flows: self.flows,
        }
    }

    /// Puts all of it into what checks will find. The claims of a cluster about which the operators state any replace
    /// those of its live configuration. What the live configuration shows and nobody claims is a warning, since its
    /// checks are skipped.
    pub fn put_into(&self, discovery: &mut Discovery, events: &Events) {
        self.put_claims_into(discovery, events);
        discovery.thresholds = self.thresholds.clone();
        discovery.outside = self.outside.clone();
        discovery.generation = self.generation;
        discovery.git = self.git.clone();
        discovery.flows.clone_from(&self.flows);
    }

    fn put_claims_into(&self, discovery: &mut Discovery, events: &Events) {
        let Discovery { clusters, claims, .. } = discovery;
        for claim in std::mem::take(claims) {
            let Some(stated) = self.claims.of_cluster(&claim.cluster) else {
                claims.push(claim);
                continue;
            };
            if claim.affirms() && !stated.iter().any(|s| s.kind == claim.kind) {
                events.warning(format!(
                    "{}: {} is {} ({}), but {} does not claim it: checks that depend on it are skipped",
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
    use meshproof_contract::{Claim, ClaimKind, ClaimSource, ClusterFacts, Event};
    use std::{path::Path, time::Duration};

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

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("m.yaml")).expect("valid")
    }

    #[test]
    fn a_files_claims_are_kept_as_written_and_a_cluster_without_any_keeps_its_own() {
        let overrides = Overrides::default().with(&config(
            "claims:\n  infra:\n    encryption: ipsec\n  edge: {policy: true}\n",
        ));
        let mut discovery = Discovery::default();
        discovery.clusters = ["infra", "apps"].map(cluster).into();
        discovery.claims = vec![
            live("infra", ClaimKind::Encryption, "wireguard"),
            live("infra", ClaimKind::Policy, "default"),
            live("apps", ClaimKind::Encryption, "wireguard"),
        ];
        let (events, mut sent) = Events::channel();
        overrides.put_into(&mut discovery, &events);
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
        let Ok(Event::Warning { message }) = sent.try_recv() else {
            panic!("expected a warning about policy")
        };
        assert!(
            message.contains("policy is default") && message.contains("m.yaml does not claim it"),
            "{message}"
        );
        assert!(sent.try_recv().is_err(), "one warning");
    }

    #[test]
    fn a_file_replaces_only_what_it_states() {
        let outside = |name: &str| OutsideFacts {
            name: name.to_owned(),
            port: 80,
        };
        let own = Overrides {
            thresholds: Thresholds {
                recovery: Duration::from_secs(12),
                policy_enforcement: Duration::from_secs(6),
                ..Thresholds::default()
            },
            outside: vec![outside("one.lab")],
            generation: Generation {
                count: 9,
                seed: 7,
                sample_seed: 8,
            },
            ..Overrides::default()
        };
        let silent = own.clone().with(&Config::default());
        assert_eq!(silent.thresholds, own.thresholds);
        assert_eq!((&silent.outside, silent.generation), (&own.outside, own.generation));

        let stated = own.clone().with(&config(
            "thresholds: {recovery: 30s}\noutside: [{name: git.example, port: 80}]\n",
        ));
        assert_eq!(stated.thresholds.recovery, Duration::from_secs(30));
        assert_eq!(stated.thresholds.policy_enforcement, Duration::from_secs(6));
        assert_eq!(stated.outside, [outside("git.example")]);

        let mut discovery = Discovery::default();
        stated.put_into(&mut discovery, &Events::channel().0);
        assert_eq!(discovery.thresholds, stated.thresholds);
        assert_eq!(
            (&discovery.outside, discovery.generation),
            (&stated.outside, own.generation)
        );
    }
}
