//! What cluster DNS answers wrongly: the effect of faults on answers.
//!
//! Faults of records concern the names of workloads' services: of every namespace but the system's.

use super::zone::{Data, Lookup, Question, Record};
use crate::{fault::Fault, others};
use std::net::Ipv4Addr;

/// Where absent names lead to: TEST-NET-2 (RFC 5737).
const WILDCARD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);

/// Addresses that fit into a datagram of 1,232 bytes.
const IN_A_DATAGRAM: usize = 70;

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

/// What a fault makes of a right answer. Silence, slowness and staleness act elsewhere.
pub(super) fn falsified(fault: Fault, site: &Site<'_>, right: Lookup) -> Lookup {
    let addresses = site.question == Question::A;
    match fault {
        Fault::DnsWrongClusterAddress if addresses && is_single(&right) => {
            let wrong = site
                .workload()
                .and_then(|(namespace, name)| (site.elsewhere)(namespace, name));
            wrong.map_or(right, |wrong| Lookup::address(site.name, wrong))
        }
        Fault::DnsGlobalRemoteAddress
            if site
                .workload()
                .is_some_and(|(namespace, name)| (site.is_global)(namespace, name)) =>
        {
            falsified(Fault::DnsWrongClusterAddress, site, right)
        }
        Fault::DnsOneNameWrong if addresses && site.workload() == Some((others::NAMESPACE, "echo-local")) => {
            Lookup::address(site.name, WILDCARD)
        }
        Fault::DnsAliasNotFollowed => alias(right, |answers| answers.truncate(1)),
        Fault::DnsAliasTargetWrong => alias(right, |answers| {
            if let Some(Data::Cname(target)) = answers.first_mut().map(|record| &mut record.data) {
                *target = format!("old-{target}");
            }
        }),
        Fault::DnsLargeAnswerCut if addresses => match right {
            Lookup::Found {
                mut answers,
                additionals,
            } => {
                answers.truncate(IN_A_DATAGRAM);
                Lookup::Found { answers, additionals }
            }
            other => other,
        },
        Fault::DnsMissingRecord if site.is_of_workload() => Lookup::NoName,
        Fault::DnsAaaaNxdomain
            if site.question == Question::Other && site.is_of_workload() && right == Lookup::NoData =>
        {
            Lookup::NoName
        }
        Fault::DnsReverseMissing if site.question == Question::Ptr => Lookup::NoName,
        Fault::DnsAbsentNameResolves if addresses && right == Lookup::NoName => Lookup::address(site.name, WILDCARD),
        Fault::HeadlessStalePod if addresses && site.workload().is_some() => match right {
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
        Fault::HeadlessMissingPod if addresses && site.workload().is_some() => match right {
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

/// Changes an answer that begins with an alias.
fn alias(right: Lookup, change: impl FnOnce(&mut Vec<Record>)) -> Lookup {
    match right {
        Lookup::Found {
            mut answers,
            additionals,
        } if matches!(answers.first(), Some(record) if matches!(record.data, Data::Cname(_))) => {
            change(&mut answers);
            Lookup::Found { answers, additionals }
        }
        other => other,
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
        let fault = Fault::DnsWrongClusterAddress;
        assert_eq!(
            falsified(fault, &site(NAME), Lookup::address(NAME, RIGHT)),
            Lookup::address(NAME, WRONG)
        );
        let dns = "kube-dns.kube-system.svc.cluster.local";
        assert_eq!(
            falsified(fault, &site(dns), Lookup::address(dns, RIGHT)),
            Lookup::address(dns, RIGHT)
        );
        let other = "other.demo.svc.cluster.local";
        assert_eq!(falsified(fault, &site(other), Lookup::NoName), Lookup::NoName);
    }

    #[test]
    fn a_wrong_address_of_global_services_spares_the_others() {
        let right = || Lookup::address(NAME, RIGHT);
        assert_eq!(falsified(Fault::DnsGlobalRemoteAddress, &site(NAME), right()), right());
        let global = Site {
            is_global: &|_, name| name == "web",
            ..site(NAME)
        };
        assert_eq!(
            falsified(Fault::DnsGlobalRemoteAddress, &global, right()),
            Lookup::address(NAME, WRONG)
        );
    }

    #[test]
    fn a_wildcard_answers_for_absent_names_only() {
        let fault = Fault::DnsAbsentNameResolves;
        assert_eq!(
            falsified(fault, &site("gone.x"), Lookup::NoName),
            Lookup::address("gone.x", WILDCARD)
        );
        assert_eq!(falsified(fault, &site("gone.x"), Lookup::Elsewhere), Lookup::Elsewhere);
        assert_eq!(falsified(fault, &site(NAME), Lookup::NoData), Lookup::NoData);
    }

    #[test]
    fn a_missing_record_takes_ports_along_and_spares_the_system() {
        let fault = Fault::DnsMissingRecord;
        for name in [NAME, "_http._tcp.web.demo.svc.cluster.local"] {
            assert_eq!(falsified(fault, &site(name), Lookup::NoData), Lookup::NoName, "{name}");
        }
        for name in [
            "kube-dns.kube-system.svc.cluster.local",
            "demo.svc.cluster.local",
            "example.org",
        ] {
            assert_eq!(falsified(fault, &site(name), Lookup::NoData), Lookup::NoData, "{name}");
        }
    }

    #[test]
    fn faults_of_aliases_and_of_long_answers_spare_all_others() {
        let record = |data| Record {
            owner: NAME.into(),
            data,
        };
        let alias = || Lookup::Found {
            answers: vec![record(Data::Cname("db.demo".into())), record(Data::A(RIGHT))],
            additionals: Vec::new(),
        };
        assert_eq!(count(falsified(Fault::DnsAliasNotFollowed, &site(NAME), alias())), 1);
        let Lookup::Found { answers, .. } = falsified(Fault::DnsAliasTargetWrong, &site(NAME), alias()) else {
            panic!("expected an alias");
        };
        assert_eq!(answers[0].data, Data::Cname("old-db.demo".into()));
        assert_eq!(falsified(Fault::DnsAliasNotFollowed, &site(NAME), pods(3)), pods(3));
        assert_eq!(
            count(falsified(Fault::DnsLargeAnswerCut, &site(NAME), pods(120))),
            IN_A_DATAGRAM
        );
        assert_eq!(falsified(Fault::DnsLargeAnswerCut, &site(NAME), pods(40)), pods(40));
    }

    #[test]
    fn headless_faults_add_or_take_one_pod() {
        assert_eq!(count(falsified(Fault::HeadlessStalePod, &site(NAME), pods(3))), 4);
        assert_eq!(count(falsified(Fault::HeadlessMissingPod, &site(NAME), pods(3))), 2);
        let cluster_ip = Lookup::address(NAME, RIGHT);
        assert_eq!(
            falsified(Fault::HeadlessMissingPod, &site(NAME), cluster_ip.clone()),
            cluster_ip
        );
    }
}
