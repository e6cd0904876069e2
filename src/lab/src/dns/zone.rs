//! A cluster's names as data, and the answer to a question. Pure: no sockets, no objects, no faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// An address.
    A(Ipv4Addr),
    /// A named port: where it is and on whom.
    Srv {
        /// The port.
        port: u16,
        /// The host's name.
        target: String,
    },
    /// Another name (ExternalName).
    Cname(String),
    /// The name of an address.
    Ptr(String),
}

/// What was asked for, as far as the zone has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// IPv4 addresses.
    A,
    /// Named ports.
    Srv,
    /// Names of an address.
    Ptr,
    /// Aliases.
    Cname,
    /// Start of authority.
    Soa,
    /// A type that this zone never has, such as AAAA.
    Other,
}

/// One record of an answer. Names are in lower case, without the last dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose record.
    pub owner: String,
    /// What it says.
    pub data: Data,
}

/// The outcome of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Records, and addresses of the hosts that they name.
    Found {
        /// Records of the name.
        answers: Vec<Record>,
        /// Addresses of SRV targets.
        additionals: Vec<Record>,
    },
    /// The name exists, but has nothing of that type: NOERROR without answers, with the start of authority.
    NoData,
    /// No such name in a zone that is answered with authority: NXDOMAIN with the start of authority.
    NoName,
    /// Not this cluster's: CoreDNS would ask upstream, and the lab has none, so SERVFAIL.
    Elsewhere,
}

impl Lookup {
    /// A single address, without additionals.
    pub fn address(owner: &str, address: Ipv4Addr) -> Self {
        let answers = vec![Record {
            owner: owner.to_owned(),
            data: Data::A(address),
        }];
        Lookup::Found {
            answers,
            additionals: Vec::new(),
        }
    }
}

/// The zones of one cluster: its domain and all reverse names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    domain: String,
    records: BTreeMap<String, BTreeSet<Data>>,
    /// Names without records above names with records: they exist.
    empty: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    /// Names of no zone.
    hosts: BTreeMap<String, Ipv4Addr>,
}

/// Aliases that are followed in a row.
const ALIASES: usize = 8;

/// The zone of reverse names.
const REVERSE: &str = "in-addr.arpa";

impl Zone {
    /// An empty zone.
    pub fn new(domain: &str) -> Self {
        let mut zone = Self {
            domain: domain.to_lowercase(),
            ..Self::default()
        };
        zone.empty.extend([zone.domain.clone(), REVERSE.to_owned()]);
        zone
    }

    /// `cluster.local` usually.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Adds a record. Names above it exist from now on.
    pub fn insert(&mut self, name: &str, data: Data) {
        let name = name.to_lowercase();
        let mut above = name.as_str();
        while let Some((_, rest)) = above.split_once('.') {
            if rest.len() <= self.domain.len().min(REVERSE.len()) || !self.empty.insert(rest.to_owned()) {
                break;
            }
            above = rest;
        }
        self.records.entry(name).or_default().insert(data);
    }

    /// A namespace exists, with or without services; the dashed names of its pods' addresses resolve
    /// (CoreDNS's `pods insecure`, which kubeadm configures).
    pub fn insert_namespace(&mut self, name: &str) {
        self.namespaces.insert(name.to_owned());
        for kind in ["svc", "pod"] {
            self.empty.insert(format!("{kind}.{}", self.domain));
            self.empty.insert(format!("{name}.{kind}.{}", self.domain));
        }
    }

    /// Serves a name that is of no zone (CoreDNS's plugin `hosts`).
    pub fn insert_host(&mut self, name: &str, address: Ipv4Addr) {
        self.hosts.insert(name.to_lowercase(), address);
    }

    /// Answers. The name is compared without case and without a last dot.
    pub fn lookup(&self, name: &str, question: Question) -> Lookup {
        let name = name.trim_end_matches('.').to_lowercase();
        if let Some(address) = self.hosts.get(&name) {
            return match question {
                Question::A => Lookup::address(&name, *address),
                _ => Lookup::NoData,
            };
        }
        if !within(&name, &self.domain) && !within(&name, REVERSE) {
            return Lookup::Elsewhere;
        }
        if let Some(address) = self.pod_address(&name) {
            return match question {
                Question::A => Lookup::address(&name, address),
                _ => Lookup::NoData,
            };
        }
        let Some(records) = self.records.get(&name) else {
            return if self.empty.contains(&name) {
                Lookup::NoData
            } else {
                Lookup::NoName
            };
        };
        let answers: Vec<Record> = records
            .iter()
            .filter(|data| matches(data, question))
            .map(|data| Record {
                owner: name.clone(),
                data: data.clone(),
            })
            .collect();
        if answers.is_empty() {
            return Lookup::NoData;
        }
        let answers = self.followed(answers, question);
        let additionals = self.targets(&answers);
        Lookup::Found { answers, additionals }
    }

    /// Behind an alias, what its target has (CoreDNS looks targets up itself); another alias is followed in turn.
    fn followed(&self, mut answers: Vec<Record>, question: Question) -> Vec<Record> {
        for _ in 0..ALIASES {
            let Some(Data::Cname(target)) = answers.last().map(|record| &record.data) else {
                break;
            };
            let target = target.to_lowercase();
            let records = self.records.get(&target).into_iter().flatten();
            let found = records.filter(|data| question != Question::Cname && matches(data, question));
            let found: Vec<Record> = found
                .map(|data| Record {
                    owner: target.clone(),
                    data: data.clone(),
                })
                .collect();
            if found.is_empty() {
                break;
            }
            answers.extend(found);
        }
        answers
    }

    fn targets(&self, answers: &[Record]) -> Vec<Record> {
        let mut found = Vec::new();
        for record in answers {
            let Data::Srv { target, .. } = &record.data else {
                continue;
            };
            let addresses = self.records.get(target).into_iter().flatten();
            found.extend(addresses.filter(|data| matches!(data, Data::A(_))).map(|data| Record {
                owner: target.clone(),
                data: data.clone(),
            }));
        }
        found
    }

    /// `10-244-1-5.default.pod.cluster.local`.
    fn pod_address(&self, name: &str) -> Option<Ipv4Addr> {
        let rest = name.strip_suffix(&self.domain)?.strip_suffix(".pod.")?;
        let (dashed, namespace) = rest.split_once('.')?;
        self.namespaces
            .contains(namespace)
            .then(|| dashed.replace('-', ".").parse().ok())?
    }
}

fn matches(data: &Data, question: Question) -> bool {
    match data {
        Data::A(_) => question == Question::A,
        Data::Srv { .. } => question == Question::Srv,
        Data::Ptr(_) => question == Question::Ptr,
        // An alias answers every question about its name.
        Data::Cname(_) => question != Question::Soa,
    }
}

fn within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The name under which an address is looked up backwards.
pub fn reverse_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.{REVERSE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        let mut zone = Zone::new("cluster.local");
        zone.insert_namespace("demo");
        zone.insert("web.demo.svc.cluster.local", Data::A(Ipv4Addr::new(10, 96, 0, 9)));
        let target = "web.demo.svc.cluster.local".to_owned();
        zone.insert("_http._tcp.web.demo.svc.cluster.local", Data::Srv { port: 80, target });
        zone.insert(
            &reverse_name(Ipv4Addr::new(10, 96, 0, 9)),
            Data::Ptr("web.demo.svc.cluster.local".into()),
        );
        zone
    }

    #[test]
    fn a_name_with_another_type_is_no_data_and_an_absent_one_no_name() {
        let zone = zone();
        assert_eq!(
            zone.lookup("web.demo.svc.cluster.local", Question::Other),
            Lookup::NoData
        );
        assert_eq!(
            zone.lookup("demo.svc.cluster.local", Question::A),
            Lookup::NoData,
            "an empty name above exists"
        );
        assert_eq!(
            zone.lookup("_tcp.web.demo.svc.cluster.local", Question::A),
            Lookup::NoData
        );
        assert_eq!(zone.lookup("gone.demo.svc.cluster.local", Question::A), Lookup::NoName);
        assert_eq!(zone.lookup("web.other.svc.cluster.local", Question::A), Lookup::NoName);
        assert_eq!(zone.lookup("example.org", Question::A), Lookup::Elsewhere);
        assert_eq!(
            zone.lookup("notcluster.local", Question::A),
            Lookup::Elsewhere,
            "a suffix is a whole label"
        );
    }

    #[test]
    fn an_alias_brings_its_targets_address_along_unless_only_it_is_asked_for() {
        let mut zone = zone();
        let target = "web.demo.svc.cluster.local".to_owned();
        zone.insert("db.demo.svc.cluster.local", Data::Cname(target.clone()));
        let answers = |question| match zone.lookup("db.demo.svc.cluster.local", question) {
            Lookup::Found { answers, .. } => answers.into_iter().map(|record| record.data).collect(),
            other => panic!("expected an alias, got {other:?}"),
        };
        let address = Data::A(Ipv4Addr::new(10, 96, 0, 9));
        let both: Vec<Data> = answers(Question::A);
        assert_eq!(both, [Data::Cname(target.clone()), address]);
        assert_eq!(answers(Question::Cname), [Data::Cname(target)]);
    }

    #[test]
    fn names_are_compared_without_case_and_last_dot() {
        let found = zone().lookup("WEB.demo.svc.Cluster.LOCAL.", Question::A);
        assert_eq!(
            found,
            Lookup::address("web.demo.svc.cluster.local", Ipv4Addr::new(10, 96, 0, 9))
        );
    }

    #[test]
    fn a_named_port_brings_its_hosts_address_along() {
        let Lookup::Found { answers, additionals } =
            zone().lookup("_http._tcp.web.demo.svc.cluster.local", Question::Srv)
        else {
            panic!("expected an answer");
        };
        assert_eq!(answers.len(), 1);
        assert_eq!(additionals[0].data, Data::A(Ipv4Addr::new(10, 96, 0, 9)));
    }

    #[test]
    fn reverse_names_answer_with_authority() {
        let zone = zone();
        assert!(matches!(
            zone.lookup("9.0.96.10.in-addr.arpa", Question::Ptr),
            Lookup::Found { .. }
        ));
        assert_eq!(zone.lookup("8.0.96.10.in-addr.arpa", Question::Ptr), Lookup::NoName);
    }

    #[test]
    fn dashed_pod_names_resolve_in_namespaces_that_exist() {
        let zone = zone();
        let name = "10-244-1-5.demo.pod.cluster.local";
        assert_eq!(
            zone.lookup(name, Question::A),
            Lookup::address(name, Ipv4Addr::new(10, 244, 1, 5))
        );
        assert_eq!(
            zone.lookup("10-244-1-5.nowhere.pod.cluster.local", Question::A),
            Lookup::NoName
        );
    }
}
