//! Claims of a cluster whose operators gave no file: taken from its live configuration, with the place in it.

use super::{cilium::Found, proxy::Proxy};
use meshproof_contract::{Claim, ClaimKind, ClaimSource, ClusterFacts, ClusterName};

/// What `cilium-config` and its neighbours claim. A missing key claims nothing, except where the agent's default is known to be on.
pub(super) fn from_config(cluster: &ClusterName, found: &Found) -> Vec<Claim> {
    let (facts, namespace) = (&found.facts, &found.namespace);
    let config = |key: &str| facts.config.get(key).map(String::as_str);
    let on = |key: &str| config(key) == Some("true");
    let key_of = |key: &str| format!("ConfigMap {namespace}/cilium-config: {key}");
    let mut claims = Vec::new();
    let mut claim = |kind: ClaimKind, value: &str, object: String| {
        claims.push(Claim {
            cluster: cluster.clone(),
            kind,
            value: value.to_owned(),
            source: ClaimSource::Live { object },
        });
    };

    match &facts.remotes {
        Some(remotes) if !remotes.is_empty() => claim(
            ClaimKind::ClusterMesh,
            &remotes.join(","),
            format!("Secret {namespace}/cilium-clustermesh: keys {}", remotes.join(", ")),
        ),
        // The Secret may not be read, or was emptied; an API server for the mesh shows that there is one.
        None | Some(_) if found.mesh_server => claim(
            ClaimKind::ClusterMesh,
            "true",
            format!("pods of {namespace}/clustermesh-apiserver"),
        ),
        _ => {}
    }
    if on("enable-wireguard") {
        claim(ClaimKind::Encryption, "wireguard", key_of("enable-wireguard"));
    } else if on("enable-ipsec") {
        claim(ClaimKind::Encryption, "ipsec", key_of("enable-ipsec"));
    } else if !facts.config.is_empty() {
        // Both are off by default (cilium-agent --enable-wireguard, --enable-ipsec).
        claim(
            ClaimKind::Encryption,
            "none",
            key_of("neither enable-wireguard nor enable-ipsec"),
        );
    }
    // The second name is Cilium 1.19's.
    let strict = ["enable-encryption-strict-mode", "enable-encryption-strict-mode-egress"];
    if let Some(key) = strict.into_iter().find(|key| on(key)) {
        claim(ClaimKind::StrictEncryption, "true", key_of(key));
    }
    // cilium-agent --enable-policy is "default" by default.
    match config("enable-policy") {
        // NetworkPolicy is a contract of the Kubernetes API: users rely on it unless the operators' file says otherwise.
        Some("never") => claim(
            ClaimKind::Policy,
            "default",
            key_of("enable-policy is never, but NetworkPolicy is part of the Kubernetes API"),
        ),
        Some(mode) => claim(ClaimKind::Policy, mode, key_of("enable-policy")),
        None if facts.config.is_empty() => {}
        None => claim(
            ClaimKind::Policy,
            "default",
            key_of("enable-policy is absent, so the default applies"),
        ),
    }
    // The DNS proxy is a part of what this key turns on; a missing key claims nothing.
    if on("enable-l7-proxy") && found.proxy != Proxy::Off {
        claim(ClaimKind::FqdnPolicy, "true", key_of("enable-l7-proxy"));
    }
    match &found.proxy {
        Proxy::External => claim(
            ClaimKind::L7Policy,
            "external",
            format!("pods of DaemonSet {namespace}/cilium-envoy"),
        ),
        Proxy::Embedded { version, pod } => claim(
            ClaimKind::L7Policy,
            "embedded",
            format!("cilium-envoy in pod {namespace}/{pod}: {version}"),
        ),
        Proxy::Off | Proxy::DnsOnly | Proxy::Unknown => {}
    }
    if on("mesh-auth-mutual-enabled") {
        claim(ClaimKind::MutualAuth, "true", key_of("mesh-auth-mutual-enabled"));
    }
    // "strict" and "partial" are values of older versions.
    if let Some(mode) = config("kube-proxy-replacement").filter(|m| matches!(*m, "true" | "strict")) {
        claim(ClaimKind::KubeProxyReplacement, mode, key_of("kube-proxy-replacement"));
    }
    claims
}

/// Adds the claims that one cluster of a run has and the others, configured alike, must have too: a DNS proxy that was turned
/// off in one of them would otherwise not be claimed there. A cluster whose configuration is unknown gets none.
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
mod tests {
    use super::*;
    use meshproof_contract::facts::CiliumFacts;

    fn claims(config: &[(&str, &str)], remotes: Option<Vec<String>>, mesh_server: bool) -> Vec<(ClaimKind, String)> {
        claims_with(config, remotes, mesh_server, Proxy::DnsOnly)
    }

    fn claims_with(
        config: &[(&str, &str)],
        remotes: Option<Vec<String>>,
        mesh_server: bool,
        proxy: Proxy,
    ) -> Vec<(ClaimKind, String)> {
        let found = Found {
            facts: CiliumFacts {
                version: String::new(),
                config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                agents: Default::default(),
                remotes,
                kvstoremesh: false,
            },
            namespace: "kube-system".into(),
            proxy,
            mesh_server,
        };
        let all = from_config(&"infra".into(), &found);
        all.into_iter().map(|c| (c.kind, c.value)).collect()
    }

    #[test]
    fn the_recorded_configuration_claims_what_it_says() {
        let config = [
            ("enable-l7-proxy", "true"),
            ("enable-policy", "default"),
            ("external-envoy-proxy", "false"),
            ("kube-proxy-replacement", "true"),
            ("mesh-auth-enabled", "true"),
        ];
        assert_eq!(
            claims(&config, Some(vec!["apps".into()]), true),
            [
                (ClaimKind::ClusterMesh, "apps".to_owned()),
                (ClaimKind::Encryption, "none".to_owned()),
                (ClaimKind::Policy, "default".to_owned()),
                (ClaimKind::FqdnPolicy, "true".to_owned()),
                (ClaimKind::KubeProxyReplacement, "true".to_owned()),
            ]
        );
    }

    #[test]
    fn http_rules_are_claimed_where_an_envoy_answers_and_nowhere_else() {
        let kinds = |proxy| {
            let config = [("enable-l7-proxy", "true"), ("enable-wireguard", "true")];
            let all = claims_with(&config, None, false, proxy);
            all.into_iter().skip(2).collect::<Vec<_>>()
        };
        let fqdn = (ClaimKind::FqdnPolicy, "true".to_owned());
        let l7 = |mode: &str| (ClaimKind::L7Policy, mode.to_owned());
        let embedded = Proxy::Embedded {
            version: "1.34.10".to_owned(),
            pod: "cilium-x".to_owned(),
        };
        assert_eq!(kinds(embedded), [fqdn.clone(), l7("embedded")]);
        assert_eq!(kinds(Proxy::External), [fqdn.clone(), l7("external")]);
        assert_eq!(kinds(Proxy::DnsOnly), std::slice::from_ref(&fqdn));
        assert_eq!(kinds(Proxy::Unknown), [fqdn]);
        assert_eq!(kinds(Proxy::Off), []);
    }

    #[test]
    fn an_unreadable_configuration_claims_nothing() {
        assert_eq!(claims(&[], None, false), []);
    }

    #[test]
    fn an_unreadable_or_empty_secret_beside_a_mesh_server_claims_a_mesh() {
        assert_eq!(claims(&[], None, true), [(ClaimKind::ClusterMesh, "true".to_owned())]);
        let emptied = claims(&[], Some(vec![]), true);
        assert_eq!(emptied, [(ClaimKind::ClusterMesh, "true".to_owned())]);
        assert_eq!(claims(&[], Some(vec![]), false), []);
    }

    #[test]
    fn strict_mode_is_claimed_by_either_name() {
        for key in ["enable-encryption-strict-mode", "enable-encryption-strict-mode-egress"] {
            let strict = (ClaimKind::StrictEncryption, "true".to_owned());
            let found = |on: &str| claims(&[("enable-wireguard", "true"), (key, on)], None, false);
            assert!(found("true").contains(&strict) && !found("false").contains(&strict));
        }
    }

    #[test]
    fn wireguard_goes_before_the_absence_of_ipsec() {
        let found = claims(&[("enable-wireguard", "true")], None, false);
        assert_eq!(found[0], (ClaimKind::Encryption, "wireguard".to_owned()));
    }

    #[test]
    fn policies_that_are_turned_off_are_claimed_all_the_same() {
        let found = claims(&[("enable-policy", "never")], None, false);
        assert!(found.contains(&(ClaimKind::Policy, "default".to_owned())), "{found:?}");
    }

    #[test]
    fn what_one_cluster_has_of_fqdn_policies_the_others_claim_too() {
        let cluster = |name: &str, config: &[(&str, &str)]| ClusterFacts {
            name: name.into(),
            context: name.to_owned(),
            version: String::new(),
            nodes: Vec::new(),
            dns: None,
            cilium: Some(CiliumFacts {
                version: String::new(),
                config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                agents: Default::default(),
                remotes: None,
                kvstoremesh: false,
            }),
        };
        let clusters = [
            cluster("infra", &[("enable-l7-proxy", "false")]),
            cluster("apps", &[("enable-l7-proxy", "true")]),
            cluster("edge", &[]),
        ];
        let mut claims = Vec::new();
        agree(&clusters, &mut claims);
        assert_eq!(claims, []);
        claims.push(Claim {
            cluster: "apps".into(),
            kind: ClaimKind::FqdnPolicy,
            value: "true".to_owned(),
            source: ClaimSource::Live {
                object: "ConfigMap kube-system/cilium-config: enable-l7-proxy".to_owned(),
            },
        });
        agree(&clusters, &mut claims);
        let said: Vec<_> = claims.iter().map(|c| format!("{} {}", c.cluster, c.source)).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[1].starts_with("infra live, same as apps (live, ConfigMap"),
            "{said:?}"
        );
    }
}
