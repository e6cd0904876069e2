//! Claims: what the operators say is true of a cluster, and where they say it.

use crate::ClusterName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One statement about one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// The cluster that it is about.
    pub cluster: ClusterName,
    /// What is claimed.
    pub kind: ClaimKind,
    /// The claimed value: `wireguard`, `true`, `tunnel`.
    pub value: String,
    /// Where it is stated.
    pub source: ClaimSource,
}

impl Claim {
    /// Whether it claims that something is present. `false` and `never` deny it: such a claim is shown, and there is
    /// nothing to verify. Encryption `none` is not a denial: a check verifies that traffic is readable.
    pub fn affirms(&self) -> bool {
        !matches!(self.value.as_str(), "" | "false" | "never")
    }
}

/// The kinds of claims that checks apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimKind {
    /// The cluster is a member of a cluster mesh.
    ClusterMesh,
    /// `wireguard`, `ipsec` or `none`.
    Encryption,
    /// Traffic between pods that would leave unencrypted is dropped (strict mode).
    StrictEncryption,
    /// Traffic of the nodes themselves is encrypted, too, except on nodes that opt out.
    NodeEncryption,
    /// Network policies are enforced.
    Policy,
    /// L7 HTTP policies (an Envoy runs).
    L7Policy,
    /// FQDN policies (the DNS proxy runs).
    FqdnPolicy,
    /// Mutual authentication.
    MutualAuth,
    /// Cilium replaces kube-proxy for Services.
    KubeProxyReplacement,
}

/// Where a claim was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimSource {
    /// A file of the operators, with the line.
    File {
        /// Path as given.
        path: String,
        /// 1-based line.
        line: u32,
    },
    /// No file: taken from the live configuration (reports say so in their first lines).
    Live {
        /// The object that shows it, such as `ConfigMap kube-system/cilium-config: enable-wireguard`.
        object: String,
    },
}

impl fmt::Display for ClaimKind {
    /// The key in `meshproof.yaml`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ClaimKind::ClusterMesh => "cluster-mesh",
            ClaimKind::Encryption => "encryption",
            ClaimKind::StrictEncryption => "strict-encryption",
            ClaimKind::NodeEncryption => "node-encryption",
            ClaimKind::Policy => "policy",
            ClaimKind::L7Policy => "l7-policy",
            ClaimKind::FqdnPolicy => "fqdn-policy",
            ClaimKind::MutualAuth => "mutual-auth",
            ClaimKind::KubeProxyReplacement => "kube-proxy-replacement",
        })
    }
}

impl fmt::Display for ClaimSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimSource::File { path, line } => write!(f, "{path}:{line}"),
            ClaimSource::Live { object } => write!(f, "live, {object}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_and_never_deny_and_encryption_none_does_not() {
        let affirms = |value: &str| {
            let source = ClaimSource::Live { object: String::new() };
            let (cluster, value) = ("infra".into(), value.to_owned());
            Claim {
                cluster,
                kind: ClaimKind::Encryption,
                value,
                source,
            }
            .affirms()
        };
        assert!(affirms("none") && affirms("wireguard") && affirms("true"));
        assert!(!affirms("false") && !affirms("never"));
    }

    #[test]
    fn a_kind_is_displayed_as_it_is_written() {
        for kind in [
            ClaimKind::ClusterMesh,
            ClaimKind::L7Policy,
            ClaimKind::KubeProxyReplacement,
        ] {
            let written = serde_json::to_string(&kind).expect("JSON");
            assert_eq!(written.trim_matches('"'), kind.to_string());
        }
    }
}
