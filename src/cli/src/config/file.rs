//! `meshproof.yaml` exactly as written: every value that can be wrong later remembers where it stands. The documentation of the keys is
//! made of the comments here (docs/configuration.md and the JSON Schema).

use super::value::{Encryption, Mode, Span, YesNo};
use crate::args::PullPolicy;
use meshproof_contract::Percent;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;
use std::{collections::BTreeMap, fmt, num::NonZeroU16, path::PathBuf};

/// What a team wants every run of theirs to use. Every key is optional; an unknown one is an error; the command line wins.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(title = "meshproof.yaml")]
pub struct ConfigFile {
    /// The clusters: role name to kubeconfig context. `--infra-context`, `--apps-context` and `--context` replace all of them.
    pub contexts: BTreeMap<String, String>,
    /// What the operators say is true, by role name. A cluster that is named here claims what is written and nothing else: checks of what it
    /// does not claim are skipped, and what it claims and does not have is a failure. The claims of a cluster that is not named are taken
    /// from its live configuration, and the report says so in its first lines.
    #[schemars(with = "BTreeMap<String, Option<ClaimsEntry>>")]
    pub claims: ByRole,
    /// The service levels that are promised.
    pub thresholds: ThresholdsEntry,
    /// Machines outside of the clusters that pods reach, for policies that name what is outside; without any they are not tried. Two or more
    /// with different addresses tell most.
    pub outside: Vec<OutsideEntry>,
    /// The least that must have run: otherwise the run ends with exit code 4, however green the rest is. A check that was skipped has not run.
    pub required: RequiredEntry,
    /// Whether checks may disturb the clusters: delete Cilium's agents, take nodes away, stop the clustermesh-apiserver. As `--disruptive`.
    pub disruptive: Option<bool>,
    /// How a node is really cut off and brought back. Without it a lost node is imitated: cordoned, and the run's own pods on it deleted.
    pub node_power: Option<NodePowerEntry>,
    /// Milliseconds between two probes of the streams that watch a disturbance, 10 by default: an outage is known to twice that.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000))]
    pub stream_spacing_ms: Option<Spanned<u32>>,
    /// The probe image that the clusters' nodes have. As `--image`.
    pub image: Option<String>,
    /// When the nodes pull it. As `--pull-policy`.
    pub pull_policy: Option<PullPolicy>,
    /// Longest time of one trial: 180 s unless told, 420 s for one that runs alone. As `--timeout`.
    pub timeout: Option<Span>,
    /// How long the probe agents may take to become ready, in all. Without it they are waited for as long as one more starts or gets ready within 90 s, 10 minutes at most.
    pub ready_timeout: Option<Span>,
    /// Trials at once. As `--jobs`.
    #[schemars(with = "Option<u16>", range(min = 1))]
    pub jobs: Option<Spanned<u16>>,
    /// Folder for the reports. As `--report-dir`.
    pub report_dir: Option<PathBuf>,
}

/// What is claimed of one cluster. A key that is left out claims nothing; `false` and `never` say that it is not there, and are shown as such.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ClaimsEntry {
    /// The cluster is a member of a cluster mesh.
    #[schemars(with = "Option<YesNo>")]
    pub cluster_mesh: Option<Spanned<YesNo>>,
    /// How traffic between nodes is encrypted. `none` is a claim as well: it is verified that traffic can be read.
    #[schemars(with = "Option<Encryption>")]
    pub encryption: Option<Spanned<Encryption>>,
    /// Strict mode: between pods, what would leave in clear is dropped instead.
    #[schemars(with = "Option<YesNo>")]
    pub strict_encryption: Option<Spanned<YesNo>>,
    /// Network policies are enforced, in which mode of Cilium's `enable-policy`; `true` is `default`.
    #[schemars(with = "Option<Mode>")]
    pub policy: Option<Spanned<Mode>>,
    /// HTTP rules in policies are enforced (an Envoy runs).
    #[schemars(with = "Option<YesNo>")]
    pub l7_policy: Option<Spanned<YesNo>>,
    /// DNS rules (`toFQDNs`) in policies are enforced (the DNS proxy runs).
    #[schemars(with = "Option<YesNo>")]
    pub fqdn_policy: Option<Spanned<YesNo>>,
    /// Mutual authentication.
    #[schemars(with = "Option<YesNo>")]
    pub mutual_auth: Option<Spanned<YesNo>>,
    /// Services are served by Cilium, without kube-proxy.
    #[schemars(with = "Option<YesNo>")]
    pub kube_proxy_replacement: Option<Spanned<YesNo>>,
}

/// A machine outside of the clusters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutsideEntry {
    /// Its name, which cluster DNS answers.
    pub name: String,
    /// A TCP port on which it listens.
    #[schemars(range(min = 1))]
    pub port: NonZeroU16,
}

/// What is promised. Durations are written `60s`, `1500ms`, `2m`; shares `99.9%`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ThresholdsEntry {
    /// Longest outage of a stream after a failure, until it is answered again for good.
    pub recovery: Option<Span>,
    /// Longest time until local backends that are back answer again instead of remote ones.
    pub fail_back: Option<Span>,
    /// Least share of requests that succeed.
    pub availability: Option<Percent>,
    /// Longest time until a change made in one cluster is felt in another.
    pub propagation: Option<Span>,
    /// Longest time from applying (or deleting) a policy until every node acts on it.
    pub policy_enforcement: Option<Span>,
    /// Longest time from an endpoint shown as not ready until nothing new reaches it.
    pub endpoint_removal: Option<Span>,
    /// Highest 99th percentile of a round trip within a cluster.
    pub local_latency: Option<Span>,
    /// Highest 99th percentile of a round trip between clusters.
    pub cross_cluster_latency: Option<Span>,
    /// How much longer the median round trip to another cluster may take than one within the cluster.
    pub cross_cluster_overhead: Option<Span>,
    /// Highest 99th percentile of an answer of cluster DNS.
    pub dns_latency: Option<Span>,
}

/// The least that must have run: passed, failed or inconclusive, but not skipped and not left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequiredEntry {
    /// Suites of which at least one check must have run in every cluster.
    #[schemars(with = "Vec<String>")]
    pub suites: Vec<Spanned<String>>,
    /// Checks, by id, that must have run in every cluster or direction.
    #[schemars(with = "Vec<String>")]
    pub checks: Vec<Spanned<String>>,
    /// How many trials must have run.
    pub trials: Option<usize>,
}

/// Commands of the operators, run on the machine that runs meshproof, without a shell. `{cluster}`, `{context}` and `{node}` in an argument are
/// replaced by the role name, the kubeconfig context and the node's name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePowerEntry {
    /// Cuts a node off; it is gone when the command ends with exit code 0.
    #[schemars(length(min = 1))]
    pub cut: Vec<String>,
    /// Brings it back.
    #[schemars(length(min = 1))]
    pub restore: Vec<String>,
}

/// Claims in the order of the file, each role with its place.
#[derive(Debug, Default)]
pub struct ByRole(pub Vec<(Spanned<String>, ClaimsEntry)>);

impl<'de> Deserialize<'de> for ByRole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> de::Visitor<'de> for Entries {
            type Value = ByRole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a role name with its claims")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<ByRole, A::Error> {
                let mut entries = Vec::new();
                while let Some(role) = map.next_key()? {
                    // A role without claims (`infra:` and nothing more) claims nothing.
                    entries.push((role, map.next_value::<Option<ClaimsEntry>>()?.unwrap_or_default()));
                }
                Ok(ByRole(entries))
            }
            fn visit_unit<E: de::Error>(self) -> Result<ByRole, E> {
                Ok(ByRole::default())
            }
        }
        from.deserialize_map(Entries)
    }
}
