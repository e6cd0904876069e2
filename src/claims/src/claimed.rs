//! What a repository claims of the kinds of claims that checks apply to: by the keys of `cilium-config` that its values
//! make. What it turns off is no claim, since the live configuration may do more than it promises.

use meshproof_contract::{Claim, ClaimKind, ClusterName, GitFacts, chain::Stated};

/// The values of a cluster, asked by the keys that they decide.
struct Keys<'a>(Vec<&'a Stated>);

impl<'a> Keys<'a> {
    /// The value that decides a key, and what it makes of it.
    fn get(&self, key: &str) -> Option<(&'a Stated, &'a str)> {
        self.0
            .iter()
            .find_map(|stated| Some((*stated, stated.config.get(key)?.as_deref()?)))
    }

    /// The value that turns a key on.
    fn on(&self, key: &str) -> Option<&'a Stated> {
        self.get(key)
            .filter(|(_, text)| *text == "true")
            .map(|(stated, _)| stated)
    }
}

/// The claims of a cluster that follow from what is stated of it.
pub fn claims(git: &GitFacts, cluster: &ClusterName) -> Vec<Claim> {
    let keys = Keys(git.of(cluster).collect());
    let wireguard = keys.on("enable-wireguard");
    let encryption = wireguard.map(|stated| (stated, "wireguard"));
    let encryption = encryption.or_else(|| Some((keys.on("enable-ipsec")?, "ipsec")));
    let on = |key: &str| Some((keys.on(key)?, "true"));
    // The second name is that of Cilium 1.19.
    let strict = on("enable-encryption-strict-mode").or_else(|| on("enable-encryption-strict-mode-egress"));
    let found = [
        (ClaimKind::Encryption, encryption),
        (ClaimKind::StrictEncryption, strict),
        // Without WireGuard the key says nothing (semantics C10).
        (ClaimKind::NodeEncryption, wireguard.and_then(|_| on("encrypt-node"))),
        (
            ClaimKind::Policy,
            keys.get("enable-policy").filter(|(_, mode)| *mode != "never"),
        ),
        (ClaimKind::MutualAuth, on("mesh-auth-mutual-enabled")),
        (ClaimKind::KubeProxyReplacement, on("kube-proxy-replacement")),
    ];
    let claims = found.into_iter().filter_map(|(kind, found)| {
        let (stated, value) = found?;
        Some(Claim {
            cluster: cluster.clone(),
            kind,
            value: value.to_owned(),
            source: stated.source.clone(),
        })
    });
    claims.collect()
}
