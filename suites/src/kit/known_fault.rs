//! Faults of Cilium itself that are known upstream: which versions have them, which check meets them, and how they are
//! recognised. A finding that fits one says so, with the link and a waiver that accepts it.
//!
//! A table, so that `explain` and the documentation show what the checks say.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use meshproof_contract::{CheckContext, CheckId, ClusterName, Evidence, evidence};

/// How long a suggested waiver is in force.
const WAIVED_DAYS: i64 = 90;

/// A version of Cilium: major, minor, patch.
pub type Version = (u16, u16, u16);

/// A fault that is known upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFault {
    /// The check that meets it.
    pub check: &'static str,
    /// What happens, as a sentence without a full stop.
    pub what: &'static str,
    /// The project's own issue or documentation.
    pub link: &'static str,
    /// The first version without it; none when there is none yet.
    pub fixed: Option<Version>,
    /// How the check recognises it.
    pub sign: &'static str,
}

/// Two ports of a global Service on one target port (semantics B8).
pub const TWO_PORTS_ON_ONE_TARGET: KnownFault = KnownFault {
    check: "service::several_ports",
    what: "of two ports of a global Service with the same target port only one keeps the other clusters' backends",
    link: "https://github.com/cilium/cilium/issues/45109",
    fixed: None,
    sign: "`cilium-dbg service list` shows the other clusters' backends behind one of the ports http and alt of \
           `svc-ports`, and none behind the other; where agents cannot be asked, clients are answered by the other \
           clusters on one of the ports only.",
};

/// The same, in what agents have of any Service.
pub const TWO_PORTS_MERGED: KnownFault = KnownFault {
    check: "state::services",
    sign: "Agents lack other clusters' backends behind one port of a global Service, and another port of it leads to \
           the same numbers.",
    ..TWO_PORTS_ON_ONE_TARGET
};

/// `none`, written out as affinity of a global Service (semantics B9).
pub const AFFINITY_NONE: KnownFault = KnownFault {
    check: "state::services",
    what: "a global Service whose affinity annotation is the literal `none` takes no backends of other clusters; \
           without the annotation it does",
    link: "https://github.com/cilium/cilium/issues/46623",
    fixed: None,
    sign: "Agents lack other clusters' backends of a global Service with `service.cilium.io/affinity: none`.",
};

/// A selector that is added to an address which another selector labelled before (semantics A31b).
pub const SECOND_FQDN_SELECTOR: KnownFault = KnownFault {
    check: "policy::fqdn",
    what: "an address whose name another policy selects already does not get the label of a selector that is added \
           later, so the later policy does not open it",
    link: "https://github.com/cilium/cilium/issues/42832",
    fixed: Some((1, 18, 5)),
    sign: "The policy is realized, and the host stays closed although its name was resolved. In `cilium-dbg ip list` \
           the address has the `fqdn:` labels of other policies' names, and not the rule's.",
};

/// DSR together with WireGuard: the reply of another node's backend has an address that its tunnel does not admit.
pub const DSR_WITH_WIREGUARD: KnownFault = KnownFault {
    check: "service::node_port",
    what: "with `bpf-lb-mode: dsr` and WireGuard, replies between joined clusters are dropped wherever the backend is \
           on another node than the one that was asked; `loadBalancer.mode: snat` works",
    link: "https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/#direct-server-return-dsr",
    fixed: None,
    sign: "cilium-config says `bpf-lb-mode` dsr or hybrid and `enable-wireguard` true, requests time out, and every \
           answer comes from a backend on the node that was asked.",
};

/// The same for the clustermesh-apiserver, where it is reached by NodePort or LoadBalancer.
pub const MESH_API_SERVER_BY_DSR: KnownFault = KnownFault {
    check: "mesh::certificates",
    what: "with `bpf-lb-mode: dsr` and WireGuard, replies of a clustermesh-apiserver on another node than the one that \
           was asked are dropped, so that etcd times out; `loadBalancer.mode: snat` works",
    link: "https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/#direct-server-return-dsr",
    fixed: None,
    sign: "cilium-config says `bpf-lb-mode` dsr or hybrid and `enable-wireguard` true, TLS or etcd times out, and no \
           certificate is wrong.",
};

/// Every one.
pub const ALL: &[KnownFault] = &[
    TWO_PORTS_ON_ONE_TARGET,
    TWO_PORTS_MERGED,
    AFFINITY_NONE,
    SECOND_FQDN_SELECTOR,
    DSR_WITH_WIREGUARD,
    MESH_API_SERVER_BY_DSR,
];

/// Those that a check meets.
pub fn of(check: &CheckId) -> impl Iterator<Item = &'static KnownFault> {
    let check = check.clone();
    ALL.iter().filter(move |known| known.check == check.as_str())
}

impl KnownFault {
    /// For people who ask before they see it.
    pub fn describe(&self) -> String {
        let fixed = match self.fixed {
            Some(version) => format!("fixed in {}", written(version)),
            None => "not fixed yet".to_owned(),
        };
        format!("{} ({}, {fixed}). {}", self.what, self.link, self.sign)
    }

    /// Leaves it as evidence, if the cluster's version of Cilium has it: what was seen fits.
    pub fn tell(&self, context: &CheckContext, cluster: &ClusterName) {
        let facts = context.environment.facts();
        let Some(cilium) = facts.cluster(cluster).and_then(|found| found.cilium.as_ref()) else {
            return;
        };
        if !self.affects(&cilium.version) {
            return;
        }
        context.evidence(Evidence::KnownFault(evidence::KnownFault {
            what: self.what.to_owned(),
            link: self.link.to_owned(),
            version: cilium.version.clone(),
            fixed: self.fixed.map(written),
            waiver: self.waiver(&context.instance.to_string()),
        }));
    }

    /// Whether a version has it; one that cannot be read may.
    fn affects(&self, version: &str) -> bool {
        match (self.fixed, parsed(version)) {
            (Some(fixed), Some(version)) => version < fixed,
            _ => true,
        }
    }

    fn waiver(&self, instance: &str) -> String {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let until = today.checked_add(WAIVED_DAYS.days()).unwrap_or(today);
        let what = self.what.replace('\'', "\'\'");
        format!(
            "- {{check: '{}', instance: '{instance}', reason: '{what}', link: '{}', until: {until}}}",
            self.check, self.link
        )
    }
}

fn written((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

fn parsed(version: &str) -> Option<Version> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next()?.parse().ok();
    Some((next()?, next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_fixed_does_not_have_it() {
        for (version, expected) in [("1.18.3", true), ("1.18.5", false), ("1.19.0-rc.1", false), ("", true)] {
            assert_eq!(SECOND_FQDN_SELECTOR.affects(version), expected, "{version}");
        }
        assert!(TWO_PORTS_ON_ONE_TARGET.affects("1.20.0"), "nobody has fixed it");
    }

    #[test]
    fn the_waiver_is_one_entry_of_the_file() {
        let text = TWO_PORTS_ON_ONE_TARGET.waiver("infra");
        assert!(
            text.contains("other clusters'' backends"),
            "quoted as YAML wants it: {text}"
        );
        assert!(
            text.starts_with("- {check: 'service::several_ports', instance: 'infra', "),
            "{text}"
        );
    }
}
