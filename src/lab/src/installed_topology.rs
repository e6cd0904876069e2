//! Clusters installed by their operators' Helm releases: what the lab cannot do of them is refused, all of it at once.

use crate::{
    installation::{Installation, Unsupported},
    topology::{ClusterSpec, Topology},
};
use ipnet::Ipv4Net;
use serde_json::Value;
use std::collections::BTreeMap;

/// Settings that all clusters of a lab have in common.
const COMMON: [&str; 8] = [
    "routing-mode",
    "enable-wireguard",
    "encrypt-node",
    "kube-proxy-replacement",
    "bpf-lb-mode",
    "bpf-lb-algorithm",
    "policy-default-local-cluster",
    "enable-endpoint-routes",
];
/// Keys of which the lab can only do some texts. No text stands for a key that is left out.
const ABLE: [(&str, &[Option<&str>]); 10] = [
    ("bpf-lb-mode", &[None, Some("snat"), Some("dsr")]),
    ("bpf-lb-algorithm", &[None, Some("random"), Some("maglev")]),
    ("datapath-mode", &[Some("veth")]),
    ("enable-hubble", &[Some("true")]),
    ("enable-ipsec", &[None]),
    ("enable-ipv4", &[Some("true")]),
    ("enable-ipv6", &[Some("false")]),
    ("enable-policy", &[Some("default")]),
    ("identity-allocation-mode", &[Some("crd")]),
    ("ipam", &[Some("kubernetes")]),
];
impl Topology {
    /// The same clusters, installed by these releases, by the clusters' names. A cluster without one follows the
    /// others.
    ///
    /// # Errors
    /// Everything that the lab cannot do of it.
    pub fn installed(mut self, installations: BTreeMap<String, Installation>) -> Result<Self, Unsupported> {
        let mut reasons = Vec::new();
        for name in installations.keys().filter(|name| self.cluster(name).is_none()) {
            reasons.push(format!("it has no cluster {name}"));
        }
        for cluster in &self.clusters {
            let installation = installations.get(&cluster.name);
            reasons.extend(
                installation
                    .into_iter()
                    .flat_map(|one| reasons_against(one, &self, cluster)),
            );
        }
        let mut all = installations.iter();
        if let Some((first, base)) = all.next() {
            for (other, installation) in all {
                for key in COMMON.iter().filter(|key| base.text(key) != installation.text(key)) {
                    reasons.push(format!(
                        "`{key}` differs between {first} and {other}, and the lab has one for all"
                    ));
                }
            }
        }
        if !reasons.is_empty() {
            return Err(Unsupported { reasons });
        }
        for (name, installation) in installations {
            for cluster in self.clusters.iter_mut().filter(|cluster| cluster.name == name) {
                cluster.mutual_authentication = installation.is_on("mesh-auth-mutual-enabled");
                cluster.installation = Some(installation.clone());
            }
        }
        Ok(self)
    }
}

/// What of one cluster's release the lab cannot do.
fn reasons_against(installation: &Installation, topology: &Topology, cluster: &ClusterSpec) -> Vec<String> {
    let mut reasons = Vec::new();
    let name = &cluster.name;
    let mut differs = |key: &str, found: Option<&str>, able: &str| {
        let found = found.map_or_else(|| "absent".to_owned(), |text| format!("`{text}`"));
        reasons.push(format!("{name}: `{key}` is {found}, and the lab has {able}"));
    };
    let id = cluster.id.to_string();
    for (key, own) in [("cluster-name", name), ("cluster-id", &id)] {
        if let Some(found) = installation.text(key).filter(|found| found != own) {
            differs(key, Some(found), &format!("`{own}`"));
        }
    }
    for (key, able) in ABLE {
        let stated = installation.config.get(key).map(Option::as_deref);
        if let Some(found) = stated.filter(|found| !able.contains(found)) {
            let able: Vec<_> = able.iter().map(|text| text.unwrap_or("no such key")).collect();
            differs(key, found, &able.join(" or "));
        }
    }
    let tunnels = installation.text("routing-mode") == Some("tunnel");
    if let Some(found) = installation
        .text("tunnel-protocol")
        .filter(|found| tunnels && *found != "vxlan")
    {
        differs("tunnel-protocol", Some(found), "vxlan");
    }
    let holds_all = |range: Ipv4Net| topology.clusters.iter().all(|each| range.contains(&each.pod_cidr));
    if let Some(range) = installation
        .native_range()
        .filter(|range| !tunnels && !holds_all(*range))
    {
        let able = format!(
            "ranges that hold the pods of all clusters, such as {}",
            topology.native_range()
        );
        differs("ipv4-native-routing-cidr", Some(&range.to_string()), &able);
    }
    if installation.values.pointer("/clustermesh/useAPIServer") != Some(&Value::Bool(true)) {
        reasons.push(format!(
            "{name}: `clustermesh.useAPIServer` is off, and the lab's clusters are meshed"
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{BalancingAlgorithm, RoutingMode};
    use serde_json::json;

    fn installation(changes: &[(&str, &str)]) -> Installation {
        let config = [
            ("routing-mode", "native"),
            ("ipv4-native-routing-cidr", "10.244.0.0/14"),
            ("enable-wireguard", "true"),
            ("encrypt-node", "true"),
            ("kube-proxy-replacement", "true"),
            ("bpf-lb-algorithm", "maglev"),
            ("mesh-auth-mutual-enabled", "true"),
        ];
        let config = config.iter().chain(changes);
        Installation {
            values: json!({"clustermesh": {"useAPIServer": true}, "operator": {"replicas": 2}, "MTU": 1400}),
            config: config
                .map(|(key, text)| ((*key).to_owned(), Some((*text).to_owned())))
                .collect(),
        }
    }

    fn installed(infra: Installation, apps: Installation) -> Result<Topology, Unsupported> {
        Topology::default().installed([("infra".to_owned(), infra), ("apps".to_owned(), apps)].into())
    }

    #[test]
    fn settings_follow_what_the_chart_made_of_the_values() {
        let topology = installed(installation(&[]), installation(&[])).expect("the lab can do it");
        let settings = topology.settings();
        assert_eq!(settings.routing, RoutingMode::Native);
        assert!(settings.node_encryption && settings.kube_proxy_replacement);
        assert_eq!(settings.algorithm, BalancingAlgorithm::Maglev);
        assert!(topology.clusters[0].mutual_authentication);
        assert_eq!(topology.strict_range(&topology.clusters[1]), None);
        assert_eq!(installation(&[]).only_stored(), ["MTU"]);
    }

    #[test]
    fn what_the_lab_cannot_do_is_refused_and_all_of_it_is_told() {
        let odd = installation(&[("bpf-lb-mode", "hybrid"), ("cluster-id", "7"), ("enable-ipsec", "true")]);
        let error = installed(odd, installation(&[("encrypt-node", "false")]))
            .expect_err("refused")
            .to_string();
        for part in [
            "infra: `bpf-lb-mode` is `hybrid`, and the lab has no such key or snat or dsr",
            "infra: `cluster-id` is `7`, and the lab has `1`",
            "`enable-ipsec` is `true`",
            "`encrypt-node` differs between apps and infra",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let narrow = installation(&[("ipv4-native-routing-cidr", "10.244.0.0/16")]);
        let error = installed(narrow, installation(&[])).expect_err("refused").to_string();
        assert!(error.contains("such as 10.244.0.0/14"), "{error}");
    }
}
