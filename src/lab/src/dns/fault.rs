//! What cluster DNS can get wrong: the catalogue's entries, where each acts, and its effect on answers.
//!
//! Faults of records concern the names of workloads' services (every namespace but the system's) in the lab's last
//! cluster; faults of a replica concern the first replica, by pod name, of the first cluster. So a check that asks only
//! one cluster or only the service address misses some of them.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::zone::{Data, Lookup, Question, Record};
use crate::fault::{Effect, FaultName, FaultSpec};

/// The transports that a DNS server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// Something that a DNS server gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFault {
    /// A service's name leads to the cluster IP of its namesake in the other cluster.
    WrongClusterAddress,
    /// A global service's name leads to the cluster IP of its namesake in the other cluster; others' names are right.
    GlobalRemoteAddress,
    /// A service's name does not exist.
    MissingRecord,
    /// Nothing that changes while the fault is in force is seen.
    StaleReplica,
    /// Questions over this transport are never answered.
    Silent(Transport),
    /// No reverse name resolves.
    ReverseMissing,
    /// Absent names of the cluster's domain lead somewhere (a wildcard).
    AbsentResolves,
    /// Answers come late.
    Slow(Duration),
    /// A headless service's name leads to a pod too many: one that has gone.
    HeadlessStalePod,
    /// A headless service's name leads to a pod too few.
    HeadlessMissingPod,
}

/// Which servers of the lab a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Every replica of the last cluster.
    LastCluster,
    /// One replica of the first cluster.
    OneReplica,
}

/// How much later a slow server answers: below the resolvers' usual retry after five seconds.
const SLOW: Duration = Duration::from_millis(800);
/// Where absent names lead to: TEST-NET-2 (RFC 5737).
const WILDCARD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);

const SUITES: &[&str] = &["dns"];

const CATALOGUE: [(&str, &str, Concern, DnsFault); 11] = [
    (
        "dns-wrong-cluster-address",
        "in one cluster a service's name leads to the other cluster's address of that name",
        Concern::LastCluster,
        DnsFault::WrongClusterAddress,
    ),
    (
        "dns-global-remote-address",
        "in one cluster a global service's name leads to the other cluster's address of it",
        Concern::LastCluster,
        DnsFault::GlobalRemoteAddress,
    ),
    (
        "dns-missing-record",
        "in one cluster the services' names do not exist",
        Concern::LastCluster,
        DnsFault::MissingRecord,
    ),
    (
        "dns-replica-stale",
        "one DNS replica no longer sees changes",
        Concern::OneReplica,
        DnsFault::StaleReplica,
    ),
    (
        "dns-silent-udp",
        "one DNS replica never answers over UDP",
        Concern::OneReplica,
        DnsFault::Silent(Transport::Udp),
    ),
    (
        "dns-silent-tcp",
        "one DNS replica never answers over TCP",
        Concern::OneReplica,
        DnsFault::Silent(Transport::Tcp),
    ),
    (
        "dns-reverse-missing",
        "in one cluster no address resolves to a name",
        Concern::LastCluster,
        DnsFault::ReverseMissing,
    ),
    (
        "dns-absent-name-resolves",
        "in one cluster names that do not exist resolve",
        Concern::LastCluster,
        DnsFault::AbsentResolves,
    ),
    (
        "dns-slow",
        "in one cluster DNS answers 800 ms late",
        Concern::LastCluster,
        DnsFault::Slow(SLOW),
    ),
    (
        "headless-stale-pod",
        "in one cluster a headless service's name leads to a pod that has gone, too",
        Concern::LastCluster,
        DnsFault::HeadlessStalePod,
    ),
    (
        "headless-missing-pod",
        "in one cluster a headless service's name lacks one of its pods",
        Concern::LastCluster,
        DnsFault::HeadlessMissingPod,
    ),
];

/// The catalogue's entries of this module.
pub fn faults() -> Vec<FaultSpec> {
    let specs = CATALOGUE.iter().map(|(name, summary, _, fault)| FaultSpec {
        name: FaultName::new(name),
        summary,
        suites: match fault {
            DnsFault::GlobalRemoteAddress => &["service"],
            _ => SUITES,
        },
        effect: Effect::Flag,
    });
    specs.collect()
}

/// The faults of servers that these names in force mean, with whom they concern.
pub(super) fn in_force(active: &std::collections::BTreeSet<FaultName>) -> Vec<(Concern, DnsFault)> {
    let named = CATALOGUE
        .iter()
        .filter(|(name, ..)| active.contains(&FaultName::new(name)));
    named.map(|(_, _, concern, fault)| (*concern, *fault)).collect()
}

/// What a fault of records needs to know.
pub(super) struct Site<'a> {
    /// The question's name, in lower case.
    pub(super) name: &'a str,
    /// Its type.
    pub(super) question: Question,
    /// The cluster's domain.
    pub(super) domain: &'a str,
    /// An address of the pod network that no pod has.
    pub(super) departed: Ipv4Addr,
    /// The cluster IP of a service in the other cluster, by namespace and name.
    pub(super) elsewhere: &'a dyn Fn(&str, &str) -> Option<Ipv4Addr>,
    /// Whether a service of this cluster is global, by namespace and name.
    pub(super) is_global: &'a dyn Fn(&str, &str) -> bool,
}

impl Site<'_> {
    /// Whether the name is that of a workload's service, of one of its ports or of one of its pods.
    fn is_of_workload(&self) -> bool {
        let below = self
            .name
            .strip_suffix(self.domain)
            .and_then(|rest| rest.strip_suffix(".svc."));
        below
            .and_then(|rest| rest.rsplit_once('.'))
            .is_some_and(|(_, namespace)| !is_system(namespace))
    }

    /// Namespace and name, when the name is that of a workload's service.
    fn workload(&self) -> Option<(&str, &str)> {
        let rest = self.name.strip_suffix(self.domain)?.strip_suffix(".svc.")?;
        let (service, namespace) = rest.split_once('.')?;
        (!is_system(namespace) && !namespace.contains('.')).then_some((namespace, service))
    }
}

fn is_system(namespace: &str) -> bool {
    namespace.starts_with("kube-") || namespace == "default"
}

impl DnsFault {
    /// What becomes of a right answer. Silence, slowness and staleness act elsewhere.
    pub(super) fn disturb(self, site: &Site<'_>, right: Lookup) -> Lookup {
        let addresses = site.question == Question::A;
        match self {
            DnsFault::WrongClusterAddress if addresses && is_single(&right) => {
                let wrong = site
                    .workload()
                    .and_then(|(namespace, name)| (site.elsewhere)(namespace, name));
                wrong.map_or(right, |wrong| Lookup::address(site.name, wrong))
            }
            DnsFault::GlobalRemoteAddress
                if site
                    .workload()
                    .is_some_and(|(namespace, name)| (site.is_global)(namespace, name)) =>
            {
                DnsFault::WrongClusterAddress.disturb(site, right)
            }
            DnsFault::MissingRecord if site.is_of_workload() => Lookup::NoName,
            DnsFault::ReverseMissing if site.question == Question::Ptr => Lookup::NoName,
            DnsFault::AbsentResolves if addresses && right == Lookup::NoName => Lookup::address(site.name, WILDCARD),
            DnsFault::HeadlessStalePod if addresses && site.workload().is_some() => match right {
                Lookup::Found {
                    mut answers,
                    additionals,
                } if answers.len() > 1 => {
                    answers.push(Record {
                        owner: site.name.to_owned(),
                        data: Data::A(site.departed),
                    });
                    Lookup::Found { answers, additionals }
                }
                other => other,
            },
            DnsFault::HeadlessMissingPod if addresses && site.workload().is_some() => match right {
                Lookup::Found {
                    mut answers,
                    additionals,
                } if answers.len() > 1 => {
                    answers.pop();
                    Lookup::Found { answers, additionals }
                }
                other => other,
            },
            _ => right,
        }
    }
}

fn is_single(lookup: &Lookup) -> bool {
    matches!(lookup, Lookup::Found { answers, .. } if answers.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "web.demo.svc.cluster.local";
    const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
    const WRONG: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);

    fn site(name: &str) -> Site<'_> {
        Site {
            name,
            question: Question::A,
            domain: "cluster.local",
            departed: Ipv4Addr::new(10, 244, 1, 254),
            elsewhere: &|namespace, name| ((namespace, name) == ("demo", "web")).then_some(WRONG),
            is_global: &|_, name| name == "shop",
        }
    }

    fn pods(count: u8) -> Lookup {
        let answers = (1..=count)
            .map(|n| Record {
                owner: NAME.into(),
                data: Data::A(Ipv4Addr::new(10, 244, 1, n)),
            })
            .collect();
        Lookup::Found {
            answers,
            additionals: Vec::new(),
        }
    }

    fn count(lookup: Lookup) -> usize {
        match lookup {
            Lookup::Found { answers, .. } => answers.len(),
            _ => 0,
        }
    }

    #[test]
    fn a_wrong_address_is_the_other_clusters_and_concerns_workloads_only() {
        let fault = DnsFault::WrongClusterAddress;
        assert_eq!(
            fault.disturb(&site(NAME), Lookup::address(NAME, RIGHT)),
            Lookup::address(NAME, WRONG)
        );
        let dns = "kube-dns.kube-system.svc.cluster.local";
        assert_eq!(
            fault.disturb(&site(dns), Lookup::address(dns, RIGHT)),
            Lookup::address(dns, RIGHT)
        );
        let other = "other.demo.svc.cluster.local";
        assert_eq!(fault.disturb(&site(other), Lookup::NoName), Lookup::NoName);
    }

    #[test]
    fn a_wrong_address_of_global_services_spares_the_others() {
        let right = || Lookup::address(NAME, RIGHT);
        assert_eq!(DnsFault::GlobalRemoteAddress.disturb(&site(NAME), right()), right());
        let global = Site {
            is_global: &|_, name| name == "web",
            ..site(NAME)
        };
        assert_eq!(
            DnsFault::GlobalRemoteAddress.disturb(&global, right()),
            Lookup::address(NAME, WRONG)
        );
    }

    #[test]
    fn a_wildcard_answers_for_absent_names_only() {
        let fault = DnsFault::AbsentResolves;
        assert_eq!(
            fault.disturb(&site("gone.x"), Lookup::NoName),
            Lookup::address("gone.x", WILDCARD)
        );
        assert_eq!(fault.disturb(&site("gone.x"), Lookup::Elsewhere), Lookup::Elsewhere);
        assert_eq!(fault.disturb(&site(NAME), Lookup::NoData), Lookup::NoData);
    }

    #[test]
    fn a_missing_record_takes_ports_along_and_spares_the_system() {
        let fault = DnsFault::MissingRecord;
        for name in [NAME, "_http._tcp.web.demo.svc.cluster.local"] {
            assert_eq!(fault.disturb(&site(name), Lookup::NoData), Lookup::NoName, "{name}");
        }
        for name in [
            "kube-dns.kube-system.svc.cluster.local",
            "demo.svc.cluster.local",
            "example.org",
        ] {
            assert_eq!(fault.disturb(&site(name), Lookup::NoData), Lookup::NoData, "{name}");
        }
    }

    #[test]
    fn headless_faults_add_or_take_one_pod() {
        assert_eq!(count(DnsFault::HeadlessStalePod.disturb(&site(NAME), pods(3))), 4);
        assert_eq!(count(DnsFault::HeadlessMissingPod.disturb(&site(NAME), pods(3))), 2);
        let cluster_ip = Lookup::address(NAME, RIGHT);
        assert_eq!(
            DnsFault::HeadlessMissingPod.disturb(&site(NAME), cluster_ip.clone()),
            cluster_ip
        );
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|(name, ..)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
    }
}
