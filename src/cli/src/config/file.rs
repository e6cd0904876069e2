//! `meshproof.yaml` exactly as written: every value that can be wrong later remembers its position. The documentation
//! of the keys is made of the comments here (docs/configuration.md, the JSON Schema and `meshproof init`).

use super::value::{Encryption, Mode, YesNo};
use meshproof_contract::{
    Flow, PullPolicy,
    thresholds::{Span, ThresholdOverrides},
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;
use std::{collections::BTreeMap, fmt, num::NonZeroU16, path::PathBuf};

/// Settings that a team shares between runs. All keys are optional, unknown keys are errors, and the command line
/// overrides the file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(title = "meshproof.yaml")]
pub struct ConfigFile {
    /// Clusters of a run: role name to kubeconfig context. `--infra-context`, `--apps-context` and `--context` replace
    /// all of them.
    pub contexts: BTreeMap<String, String>,
    /// What the operators claim, by role name. Of a cluster named here only what is written is claimed: a claimed
    /// feature that is absent is a failure, and checks of features that are not claimed are skipped. The claims of
    /// other clusters are read from their live configuration, which the reports say in their first lines.
    #[schemars(with = "BTreeMap<String, Option<ClaimsEntry>>")]
    pub claims: ByRole,
    /// Promised service levels.
    pub thresholds: ThresholdOverrides,
    /// Hosts outside the clusters that pods can reach, for policies about external traffic; without any, these checks
    /// are skipped. Two or more hosts with different addresses prove the most.
    pub outside: Vec<OutsideEntry>,
    /// Flows that must be possible, or must not: who reaches what, and how well (docs/flows.md). Each is a trial of
    /// suite `flows`. More flows come with `--flows`.
    #[schemars(with = "Vec<Flow>")]
    pub flows: Vec<Spanned<Flow>>,
    /// What must run at least; otherwise the exit code is 4, even if everything else passed. A skipped check has not
    /// run.
    pub required: RequiredEntry,
    /// Failures that are known and accepted, such as a fault of Cilium itself. A waived failure is shown and counted,
    /// and does not fail the run. The run fails once everything that a waiver covers passes, or its day is over: then
    /// remove it.
    pub waivers: Vec<WaiverEntry>,
    /// Allow checks to disrupt the clusters: restart Cilium agents, take nodes away, scale clustermesh-apiserver to
    /// zero. Same as `--disruptive`.
    pub disruptive: Option<bool>,
    /// Commands that cut off a node and restore it. Without them, checks that lose a node or a cluster are skipped.
    pub node_power: Option<NodePowerEntry>,
    /// Interval between two probes of a stream during a disruption, in milliseconds (default 10). An outage is
    /// measured to within twice this interval.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000))]
    pub stream_spacing_ms: Option<Spanned<u32>>,
    /// Also keep clustermesh-apiserver down for this time, at least 10s and at most 5m: 3m outlasts leases and
    /// heartbeats. Same as `--mesh-outage`.
    pub mesh_outage: Option<Span>,
    /// Probe image that the clusters' nodes have. Same as `--image`.
    pub image: Option<String>,
    /// When nodes pull the probe image. Same as `--pull-policy`.
    pub pull_policy: Option<PullPolicy>,
    /// Docker configuration file with credentials for the probe image. Same as `--image-pull-secret`.
    pub image_pull_secret: Option<PathBuf>,
    /// Time limit of one trial (default 180s; 420s for trials that run alone). Same as `--timeout`.
    pub timeout: Option<Span>,
    /// How long all probe agents may take to become ready. By default, the run waits as long as another agent starts
    /// or becomes ready within 90 s, but at most 10 min.
    pub ready_timeout: Option<Span>,
    /// Maximum number of concurrent trials (default 12). Same as `--jobs`.
    #[schemars(with = "Option<u16>", range(min = 1))]
    pub jobs: Option<Spanned<u16>>,
    /// Folder for the reports. Same as `--report-dir`.
    pub report_dir: Option<PathBuf>,
}

/// Claims for one cluster. A key that is left out claims nothing; `false` and `never` claim that the feature is off,
/// and the reports show them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ClaimsEntry {
    /// The cluster is a member of a cluster mesh.
    #[schemars(with = "Option<YesNo>")]
    pub cluster_mesh: Option<Spanned<YesNo>>,
    /// How traffic between nodes is encrypted. `none` is a claim as well: a check verifies that traffic is readable.
    #[schemars(with = "Option<Encryption>")]
    pub encryption: Option<Spanned<Encryption>>,
    /// Strict mode: traffic between pods that would leave unencrypted is dropped.
    #[schemars(with = "Option<YesNo>")]
    pub strict_encryption: Option<Spanned<YesNo>>,
    /// Node encryption: what nodes send each other, and their pods, is encrypted, too, except on nodes that opt out.
    #[schemars(with = "Option<YesNo>")]
    pub node_encryption: Option<Spanned<YesNo>>,
    /// Network policies are enforced, in this mode of Cilium's `enable-policy`; `true` means `default`, `false`
    /// `never`.
    #[schemars(with = "Option<Mode>")]
    pub policy: Option<Spanned<Mode>>,
    /// HTTP rules in policies are enforced (by Envoy).
    #[schemars(with = "Option<YesNo>")]
    pub l7_policy: Option<Spanned<YesNo>>,
    /// DNS rules (`toFQDNs`) in policies are enforced (by the DNS proxy).
    #[schemars(with = "Option<YesNo>")]
    pub fqdn_policy: Option<Spanned<YesNo>>,
    /// Mutual authentication is enforced where policies require it.
    #[schemars(with = "Option<YesNo>")]
    pub mutual_auth: Option<Spanned<YesNo>>,
    /// Cilium implements Services, without kube-proxy.
    #[schemars(with = "Option<YesNo>")]
    pub kube_proxy_replacement: Option<Spanned<YesNo>>,
    /// Files of Cilium's Helm values in this cluster, for `claims check`; later ones win. Their paths start at this
    /// file's folder. A cluster with this key alone claims nothing else here.
    pub values: Vec<PathBuf>,
}

/// A host outside the clusters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutsideEntry {
    /// Its name, which cluster DNS must resolve.
    pub name: String,
    /// A TCP port on which it listens.
    #[schemars(range(min = 1))]
    pub port: NonZeroU16,
}

/// What must run at least: it passes, fails or is inconclusive, but is neither skipped nor left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequiredEntry {
    /// Suites of which at least one check must run in every cluster.
    #[schemars(with = "Vec<String>")]
    pub suites: Vec<Spanned<String>>,
    /// Ids of checks that must run in every cluster or direction.
    #[schemars(with = "Vec<String>")]
    pub checks: Vec<Spanned<String>>,
    /// Number of trials that must run.
    pub trials: Option<usize>,
}

/// A failure that is known and accepted. A waived check that could not tell does not decide about the run either.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaiverEntry {
    /// Id of the check; `*` stands for any characters.
    #[schemars(with = "String")]
    pub check: Spanned<String>,
    /// The cluster (`infra`) or direction (`infra->apps`), `*` as above. Without it, every instance of the check.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub instance: Option<Spanned<String>>,
    /// Why the failure is accepted; reports show it.
    #[schemars(with = "String")]
    pub reason: Spanned<String>,
    /// Where more is written, such as the issue of the project whose fault it is.
    #[serde(default)]
    pub link: Option<String>,
    /// The last day on which the waiver is in force (UTC), as YYYY-MM-DD.
    #[schemars(with = "String", extend("format" = "date"))]
    pub until: Spanned<String>,
}

/// Commands that meshproof runs on its own machine, without a shell. In their arguments, `{cluster}`, `{context}` and
/// `{node}` stand for the role name, the kubeconfig context and the node's name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePowerEntry {
    /// Cuts off a node; the node is gone when the command exits with code 0.
    #[schemars(length(min = 1))]
    pub cut: Vec<String>,
    /// Restores the node.
    #[schemars(length(min = 1))]
    pub restore: Vec<String>,
}

/// Claims in the order of the file, each role with its position.
#[derive(Debug, Default)]
pub struct ByRole(pub Vec<(Spanned<String>, ClaimsEntry)>);

impl<'de> Deserialize<'de> for ByRole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> de::Visitor<'de> for Entries {
            type Value = ByRole;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("role names with their claims")
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
