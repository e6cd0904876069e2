//! What the operators state, put over what was found. It is never adapted to what is there: that is for the checks to
//! judge.

use super::consumer::Events;
use crate::config::{Config, Declared};
use meshproof_claims::claimed;
use meshproof_cluster::Discovery;
use meshproof_contract::{Claim, Flow, Generation, GitFacts, OutsideFacts, Thresholds};

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
    /// those of its live configuration; of other clusters each claim that follows from their repository's values does.
    /// What the live configuration shows and such a file does not claim is a warning, since its checks are skipped.
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
        let from_git = clusters.iter().map(|cluster| &cluster.name);
        let from_git = from_git.filter(|cluster| self.claims.of_cluster(cluster).is_none());
        let from_git = from_git.flat_map(|cluster| self.git.iter().flat_map(|git| claimed::claims(git, cluster)));
        let from_git: Vec<Claim> = from_git.collect();
        let is_replaced = |claim: &Claim| {
            from_git
                .iter()
                .any(|git| (&git.cluster, git.kind) == (&claim.cluster, claim.kind))
        };
        for claim in std::mem::take(claims) {
            let Some(stated) = self.claims.of_cluster(&claim.cluster) else {
                if !is_replaced(&claim) {
                    claims.push(claim);
                }
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
        claims.extend(from_git);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::{ClaimKind, ClaimSource, ClusterFacts, Event, chain::Stated};
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
    fn what_git_turns_on_is_claimed_whatever_the_live_configuration_says() {
        let stated = |claim: &str, line: u32, config: &[(&str, &str)]| Stated {
            cluster: "infra".into(),
            claim: claim.to_owned(),
            value: "as written".to_owned(),
            source: ClaimSource::File {
                path: "values.yaml".to_owned(),
                line,
            },
            config: config
                .iter()
                .map(|(key, text)| ((*key).to_owned(), Some((*text).to_owned())))
                .collect(),
        };
        let git = GitFacts {
            stated: vec![
                stated("encryption.enabled", 4, &[("enable-wireguard", "true")]),
                stated("encryption.nodeEncryption", 6, &[("encrypt-node", "true")]),
                stated("kubeProxyReplacement", 9, &[("kube-proxy-replacement", "false")]),
            ],
            ..GitFacts::default()
        };
        let claims = |overrides: Overrides| {
            let mut discovery = Discovery::default();
            discovery.clusters = ["infra", "apps"].map(cluster).into();
            discovery.claims = vec![
                live("infra", ClaimKind::Encryption, "none"),
                live("infra", ClaimKind::KubeProxyReplacement, "true"),
                live("apps", ClaimKind::Encryption, "none"),
            ];
            overrides.put_into(&mut discovery, &Events::channel().0);
            let mut shown: Vec<_> = discovery
                .claims
                .iter()
                .map(|c| format!("{} {} {} {}", c.cluster, c.kind, c.value, c.source))
                .collect();
            shown.sort();
            shown
        };
        let overrides = Overrides {
            git: Some(git),
            ..Overrides::default()
        };
        assert_eq!(
            claims(overrides.clone()),
            [
                "apps encryption none live, ConfigMap kube-system/cilium-config",
                "infra encryption wireguard values.yaml:4",
                "infra kube-proxy-replacement true live, ConfigMap kube-system/cilium-config",
                "infra node-encryption true values.yaml:6",
            ]
        );
        let by_file = overrides.with(&config("claims:\n  infra:\n    encryption: ipsec\n"));
        assert_eq!(claims(by_file)[1], "infra encryption ipsec m.yaml:3");
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
