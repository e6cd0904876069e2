//! One DNS question as a probe.

use crate::{
    attempt::{Attempt, ByName},
    failure::Failure,
    resolver::{Reply, Resolver, SearchWalk, ask as exchange},
};
use hickory_proto::rr::{Name, RecordType as ProtoType};
use meshproof_contract::{Outcome, RecordType, Transport, probe::Search};
use std::net::{IpAddr, SocketAddr};

/// The question of an [`Action::Dns`](meshproof_contract::Action::Dns).
pub(super) struct Question<'a> {
    pub(super) name: &'a str,
    pub(super) record: RecordType,
    pub(super) server: Option<SocketAddr>,
    pub(super) transport: Transport,
    pub(super) search: Search,
}

pub(super) async fn ask(
    attempt: &mut Attempt,
    resolver: &Resolver,
    question: Question<'_>,
) -> Result<Outcome, Failure> {
    let server = match question.server {
        Some(server) => server,
        None => {
            let servers = resolver.config()?.servers;
            let first = servers
                .first()
                .ok_or_else(|| Failure::Local("the pod's resolv.conf lists no nameserver".to_owned()))?;
            SocketAddr::new(*first, 53)
        }
    };
    attempt.resolved(server.ip(), ByName::No);
    let record = match question.record {
        RecordType::A => ProtoType::A,
        RecordType::Aaaa => ProtoType::AAAA,
        RecordType::Ptr => ProtoType::PTR,
        RecordType::Srv => ProtoType::SRV,
        RecordType::Cname => ProtoType::CNAME,
    };
    let reply = match question.search {
        Search::Absolute => exchange(server, &absolute_name(&question)?, record, question.transport).await?,
        Search::ResolvConf => {
            let config = resolver.config()?;
            let mut walk = SearchWalk::new(question.name, &config).ok_or_else(|| no_name(question.name))?;
            while let Some(name) = walk.next_name() {
                walk.answered(exchange(server, &name, record, question.transport).await?);
            }
            walk.result().ok_or(Failure::Silence)?
        }
    };
    attempt.first_byte();
    let Reply { code, answers, server } = reply;
    Ok(Outcome::Dns {
        code,
        answers,
        server,
        timing: attempt.timing(),
    })
}

fn no_name(name: &str) -> Failure {
    Failure::Local(format!("invalid DNS name {name:?}"))
}

/// The name as asked; for a PTR question an address stands for its name under `in-addr.arpa` or `ip6.arpa`.
fn absolute_name(question: &Question<'_>) -> Result<Name, Failure> {
    if question.record == RecordType::Ptr
        && let Ok(address) = question.name.parse::<IpAddr>()
    {
        return Ok(Name::from(address));
    }
    let mut name = Name::from_str_relaxed(question.name).map_err(|_| no_name(question.name))?;
    name.set_fqdn(true);
    Ok(name)
}
