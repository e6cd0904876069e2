//! Names as an application in this pod would resolve them, uncached, and single DNS questions.

mod config;
mod exchange;
mod search;

pub(crate) use config::{ResolvConf, hosts_addresses};
pub(crate) use exchange::{Reply, ask, reply_to};
pub(crate) use search::SearchWalk;

use crate::failure::Failure;
use hickory_proto::rr::{Name, RecordType};
use meshproof_contract::{DnsAnswer, DnsCode, Transport};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};
use tokio::time::timeout;

/// Resolves by the pod's `resolv.conf` and `hosts`, read each time, as they may be mounted late.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(crate) resolv_conf: PathBuf,
    pub(crate) hosts: PathBuf,
}

impl Resolver {
    /// The resolver configuration as it is now.
    pub(crate) fn config(&self) -> Result<ResolvConf, Failure> {
        ResolvConf::read(&self.resolv_conf).map_err(Failure::Local)
    }

    /// The addresses of a host: first `hosts`, then A, and AAAA where there is no A; search domains and `ndots` apply.
    ///
    /// Servers are asked in turn with the configured timeout and attempts, as glibc does (resolv.conf(5)).
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let hosts = std::fs::read_to_string(&self.hosts).unwrap_or_default();
        let found = config::hosts_addresses(&hosts, host);
        if !found.is_empty() {
            return Ok(found);
        }
        let config = self.config()?;
        let mut walk = SearchWalk::new(host, &config)
            .ok_or_else(|| Failure::Local(format!("invalid host {host:?}: expected an IP address or a DNS name")))?;
        while let Some(name) = walk.next_name() {
            let mut reply = None;
            for record in [RecordType::A, RecordType::AAAA] {
                let answer = self.ask_in_turn(&config, &name, record).await?;
                let done = answer.code != DnsCode::NoError || !answer.answers.is_empty();
                reply = Some(answer);
                if done {
                    break;
                }
            }
            if let Some(reply) = reply {
                walk.answered(reply);
            }
        }
        match walk.result() {
            Some(reply) => {
                let addresses: Vec<IpAddr> = reply
                    .answers
                    .iter()
                    .filter_map(|answer| match answer {
                        DnsAnswer::Address(address) => Some(*address),
                        _ => None,
                    })
                    .collect();
                if addresses.is_empty() {
                    Err(Failure::Name(Some(reply.code)))
                } else {
                    Ok(addresses)
                }
            }
            None => Err(Failure::Name(None)),
        }
    }

    async fn ask_in_turn(&self, config: &ResolvConf, name: &Name, record: RecordType) -> Result<Reply, Failure> {
        let mut last = None;
        for _ in 0..config.attempts {
            for server in &config.servers {
                let server = SocketAddr::new(*server, 53);
                match timeout(config.timeout, ask(server, name, record, Transport::Udp)).await {
                    Ok(Ok(reply)) => match reply.code {
                        // glibc's res_send goes on to the next server with these.
                        DnsCode::ServFail | DnsCode::NotImp | DnsCode::Refused => last = Some(reply),
                        _ => return Ok(reply),
                    },
                    Ok(Err(local @ Failure::Local(_))) => return Err(local),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        }
        last.ok_or(Failure::Name(None))
    }
}
