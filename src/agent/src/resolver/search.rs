//! Which names a resolver tries for a name as typed, and which answer counts in the end: glibc's `res_nsearch`. No I/O.

use super::{ResolvConf, exchange::Reply};
use hickory_proto::rr::Name;
use meshproof_contract::DnsCode;
use std::collections::VecDeque;

/// The walk through the candidates of one name.
#[derive(Debug)]
pub(crate) struct SearchWalk {
    candidates: VecDeque<Name>,
    last: Option<Reply>,
    no_data: Option<Reply>,
    failure: Option<Reply>,
    found: Option<Reply>,
}

impl SearchWalk {
    /// The walk for `name`; none if that is not a DNS name.
    pub(crate) fn new(name: &str, config: &ResolvConf) -> Option<Self> {
        let mut typed = Name::from_str_relaxed(name).ok()?;
        let absolute = name.ends_with('.');
        typed.set_fqdn(true);
        let mut candidates = VecDeque::new();
        if !absolute {
            candidates.extend(config.search.iter().filter_map(|domain| {
                let mut relative = typed.clone();
                relative.set_fqdn(false);
                relative.append_domain(domain).ok()
            }));
        }
        let dots = name.matches('.').count();
        if dots >= config.ndots {
            candidates.push_front(typed);
        } else {
            candidates.push_back(typed);
        }
        Some(Self {
            candidates,
            last: None,
            no_data: None,
            failure: None,
            found: None,
        })
    }

    /// The next name to ask for; none when the walk is over.
    pub(crate) fn next_name(&mut self) -> Option<Name> {
        self.candidates.pop_front()
    }

    /// What was answered for it. A name that exists without records of the type, or a failing server, does not end the
    /// walk.
    pub(crate) fn answered(&mut self, reply: Reply) {
        match reply.code {
            DnsCode::NoError if !reply.answers.is_empty() => {
                self.candidates.clear();
                self.found = Some(reply);
            }
            DnsCode::NoError => self.no_data = Some(reply),
            DnsCode::ServFail => self.failure = Some(reply),
            _ => self.last = Some(reply),
        }
    }

    /// The final answer: found, else "exists without data", else "server failure", else the last.
    pub(crate) fn result(self) -> Option<Reply> {
        self.found.or(self.no_data).or(self.failure).or(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_contract::DnsAnswer;
    use std::{net::IpAddr, time::Duration};

    fn config(ndots: usize) -> ResolvConf {
        ResolvConf {
            servers: vec![],
            search: ["ns.svc.cluster.local.", "svc.cluster.local."]
                .iter()
                .map(|name| Name::from_ascii(name).expect("a name"))
                .collect(),
            ndots,
            timeout: Duration::from_secs(5),
            attempts: 2,
        }
    }

    fn names(name: &str, ndots: usize) -> Vec<String> {
        let mut walk = SearchWalk::new(name, &config(ndots)).expect("a name");
        std::iter::from_fn(|| walk.next_name().map(|name| name.to_string())).collect()
    }

    fn reply(code: DnsCode, answers: Vec<DnsAnswer>) -> Reply {
        Reply {
            code,
            answers,
            server: IpAddr::from([10, 96, 0, 10]),
        }
    }

    #[test]
    fn few_dots_are_completed_first_and_many_last() {
        let short = ["a.b.ns.svc.cluster.local.", "a.b.svc.cluster.local.", "a.b."];
        assert_eq!(names("a.b", 5), short);
        let mut full = short;
        full.rotate_right(1);
        assert_eq!(names("a.b", 1), full);
        assert_eq!(names("a.b.", 5), ["a.b."]);
    }

    #[test]
    fn an_answer_ends_the_walk_and_a_failure_does_not() {
        let address = vec![DnsAnswer::Address(IpAddr::from([10, 0, 0, 1]))];
        let mut walk = SearchWalk::new("a", &config(5)).expect("a name");
        walk.next_name();
        walk.answered(reply(DnsCode::ServFail, vec![]));
        assert!(walk.next_name().is_some());
        walk.answered(reply(DnsCode::NoError, address.clone()));
        assert!(walk.next_name().is_none());
        assert_eq!(walk.result().map(|reply| reply.answers), Some(address));
    }

    #[test]
    fn in_the_end_a_failure_outweighs_absence() {
        let mut walk = SearchWalk::new("a", &config(5)).expect("a name");
        while walk.next_name().is_some() {
            let code = match walk.failure {
                None => DnsCode::ServFail,
                Some(_) => DnsCode::NxDomain,
            };
            walk.answered(reply(code, vec![]));
        }
        assert_eq!(walk.result().map(|reply| reply.code), Some(DnsCode::ServFail));
    }
}
