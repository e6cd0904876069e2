//! Claims of recorded and invented configurations.

use super::*;
use crate::environment::query::CiliumPods;
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
        pods: CiliumPods::new("kube-system".into(), tokio::time::Instant::now(), Vec::new()),
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
fn node_encryption_is_claimed_with_wireguard_only() {
    let nodes = (ClaimKind::NodeEncryption, "true".to_owned());
    let found = |wireguard: &str| {
        claims(
            &[("enable-wireguard", wireguard), ("encrypt-node", "true")],
            None,
            false,
        )
    };
    assert!(found("true").contains(&nodes) && !found("false").contains(&nodes));
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
