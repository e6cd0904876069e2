//! Direct server return together with WireGuard: the backend's node replies with the address of the node that was
//! asked, through the tunnel of a peer whose allowed-ips do not hold that address, and the receiver drops it.

use meshproof_contract::{ClusterName, Facts};

/// Whether a cluster's configuration has that combination.
pub fn loses_replies(facts: &Facts, cluster: &ClusterName) -> bool {
    let Some(cilium) = facts.cluster(cluster).and_then(|found| found.cilium.as_ref()) else {
        return false;
    };
    let mode = cilium.setting("bpf-lb-mode");
    matches!(mode, Some("dsr" | "hybrid")) && cilium.flag("enable-wireguard") == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    #[test]
    fn both_settings_are_needed() {
        for (mode, wireguard, expected) in [
            ("dsr", "true", true),
            ("hybrid", "true", true),
            ("snat", "true", false),
            ("dsr", "false", false),
        ] {
            let fake = Fake::healthy().facts(|facts| {
                let config = &mut facts.clusters[0].cilium.as_mut().expect("Cilium").config;
                config.insert("bpf-lb-mode".to_owned(), mode.to_owned());
                config.insert("enable-wireguard".to_owned(), wireguard.to_owned());
            });
            assert_eq!(
                loses_replies(&fake.facts, &"infra".into()),
                expected,
                "{mode} {wireguard}"
            );
        }
    }
}
