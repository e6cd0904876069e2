//! Claims of a cluster whose operators gave no file: taken from its live configuration, with the place in it.

use super::{cilium::Found, proxy::Proxy};
use meshproof_contract::{Claim, ClaimKind, ClaimSource, ClusterFacts, ClusterName};

/// A claimed value, and the object that shows it.
type Shown = Option<(String, String)>;

/// The claims of `cilium-config` and the objects beside it. A missing key claims nothing, except where the agent's
/// default is known to be on.
pub(super) fn from_config(cluster: &ClusterName, found: &Found) -> Vec<Claim> {
    let shown = [
        (ClaimKind::ClusterMesh, found.cluster_mesh()),
        (ClaimKind::Encryption, found.encryption()),
        (ClaimKind::StrictEncryption, found.strict_encryption()),
        (ClaimKind::NodeEncryption, found.node_encryption()),
        (ClaimKind::Policy, found.policy()),
        (ClaimKind::FqdnPolicy, found.fqdn_policy()),
        (ClaimKind::L7Policy, found.l7_policy()),
        (ClaimKind::MutualAuth, found.mutual_auth()),
        (ClaimKind::KubeProxyReplacement, found.kube_proxy_replacement()),
    ];
    let claims = shown.into_iter().filter_map(|(kind, shown)| {
        let (value, object) = shown?;
        Some(Claim {
            cluster: cluster.clone(),
            kind,
            value,
            source: ClaimSource::Live { object },
        })
    });
    claims.collect()
}

impl Found {
    fn config(&self, key: &str) -> Option<&str> {
        self.facts.setting(key)
    }
    fn is_on(&self, key: &str) -> bool {
        self.config(key) == Some("true")
    }
    /// `value` as a key of `cilium-config` shows it.
    fn by_key(&self, value: &str, key: &str) -> Shown {
        let object = format!("ConfigMap {}/cilium-config: {key}", self.pods.namespace);
        Some((value.to_owned(), object))
    }

    fn cluster_mesh(&self) -> Shown {
        let namespace = &self.pods.namespace;
        match &self.facts.remotes {
            Some(remotes) if !remotes.is_empty() => Some((
                remotes.join(","),
                format!("Secret {namespace}/cilium-clustermesh: keys {}", remotes.join(", ")),
            )),
            // The Secret may not be read, or was emptied; an API server for the mesh shows that there is one.
            None | Some(_) if self.mesh_server => {
                Some(("true".to_owned(), format!("pods of {namespace}/clustermesh-apiserver")))
            }
            _ => None,
        }
    }

    fn encryption(&self) -> Shown {
        if self.is_on("enable-wireguard") {
            self.by_key("wireguard", "enable-wireguard")
        } else if self.is_on("enable-ipsec") {
            self.by_key("ipsec", "enable-ipsec")
        } else if self.facts.config.is_empty() {
            None
        } else {
            // Both are off by default (cilium-agent --enable-wireguard, --enable-ipsec).
            self.by_key("none", "neither enable-wireguard nor enable-ipsec")
        }
    }

    fn strict_encryption(&self) -> Shown {
        // The second name is Cilium 1.19's.
        let keys = ["enable-encryption-strict-mode", "enable-encryption-strict-mode-egress"];
        let key = keys.into_iter().find(|key| self.is_on(key))?;
        self.by_key("true", key)
    }

    fn node_encryption(&self) -> Shown {
        // Without WireGuard the key says nothing (semantics C10; pkg/wireguard/agent).
        let is_on = self.is_on("enable-wireguard") && self.is_on("encrypt-node");
        is_on.then(|| self.by_key("true", "encrypt-node")).flatten()
    }

    fn policy(&self) -> Shown {
        // cilium-agent --enable-policy is "default" by default.
        match self.config("enable-policy") {
            // NetworkPolicy is part of the Kubernetes API: users rely on it unless the operators' file denies it.
            Some("never") => self.by_key(
                "default",
                "enable-policy is never, but NetworkPolicy is part of the Kubernetes API",
            ),
            Some(mode) => self.by_key(mode, "enable-policy"),
            None if self.facts.config.is_empty() => None,
            None => self.by_key("default", "enable-policy is absent, so the default applies"),
        }
    }

    fn fqdn_policy(&self) -> Shown {
        // The DNS proxy is a part of what this key turns on; a missing key claims nothing.
        let serves_dns = self.is_on("enable-l7-proxy") && self.proxy != Proxy::Off;
        serves_dns.then(|| self.by_key("true", "enable-l7-proxy")).flatten()
    }

    fn l7_policy(&self) -> Shown {
        let namespace = &self.pods.namespace;
        match &self.proxy {
            Proxy::External => Some((
                "external".to_owned(),
                format!("pods of DaemonSet {namespace}/cilium-envoy"),
            )),
            Proxy::Embedded { version, pod } => Some((
                "embedded".to_owned(),
                format!("cilium-envoy in pod {namespace}/{pod}: {version}"),
            )),
            Proxy::Off | Proxy::DnsOnly | Proxy::Unknown => None,
        }
    }

    fn mutual_auth(&self) -> Shown {
        let key = "mesh-auth-mutual-enabled";
        self.is_on(key).then(|| self.by_key("true", key)).flatten()
    }

    fn kube_proxy_replacement(&self) -> Shown {
        let key = "kube-proxy-replacement";
        // "strict" and "partial" are values of older versions.
        let mode = self.config(key).filter(|mode| matches!(*mode, "true" | "strict"))?;
        self.by_key(mode, key)
    }
}

/// Adds the claims that one cluster of a run has and the others, configured alike, must have too: a DNS proxy that was
/// turned off in one of them would otherwise not be claimed there. A cluster whose configuration is unknown gets none.
pub(super) fn agree(clusters: &[ClusterFacts], claims: &mut Vec<Claim>) {
    let kind = ClaimKind::FqdnPolicy;
    let Some(first) = claims.iter().find(|claim| claim.kind == kind).cloned() else {
        return;
    };
    for cluster in clusters {
        let is_known = cluster.cilium.as_ref().is_some_and(|cilium| !cilium.config.is_empty());
        let has = claims.iter().any(|c| c.cluster == cluster.name && c.kind == kind);
        if is_known && !has {
            let object = format!("same as {} ({})", first.cluster, first.source);
            claims.push(Claim {
                cluster: cluster.name.clone(),
                source: ClaimSource::Live { object },
                ..first.clone()
            });
        }
    }
}

#[cfg(test)]
mod tests;
