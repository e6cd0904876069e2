//! DNS messages to and from a zone: a hickory-server request handler.

use super::{
    wrong_answer::{Site, falsified},
    zone::{Data, Lookup, Question, Record, Zone},
};
use crate::{
    fault::Fault,
    sync::{read, write},
};
use async_trait::async_trait;
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode},
    rr::{
        Name, RData, Record as WireRecord, RecordType,
        rdata::{A, CNAME, PTR, SOA, SRV},
    },
};
use hickory_server::{
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, RwLock},
    time::Duration,
};

/// Time to live of every record, in seconds: what kubeadm's Corefile sets.
const TTL: u32 = 30;
/// What a UDP answer may be long with EDNS (CoreDNS's `bufsize` default since DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// Addresses that surely fit into 512 bytes beside the question (RFC 1035 section 4.2.1).
const IN_512_BYTES: usize = 25;

/// What a server needs to know of the clusters, asked again for every question.
pub(super) trait ClusterView: Send + Sync + Unpin + 'static {
    /// The faults that concern this server now.
    fn faults(&self) -> BTreeSet<Fault>;
    /// The share of questions that get no answer under [`Fault::DnsLossy`].
    fn lost(&self) -> f64;
    /// How much later it answers under [`Fault::DnsSlow`].
    fn delay(&self) -> Duration;
    /// The cluster IP of a service in the other cluster.
    fn elsewhere(&self, namespace: &str, service: &str) -> Option<Ipv4Addr>;
    /// Whether a service of this cluster is global.
    fn is_global(&self, namespace: &str, service: &str) -> bool;
    /// An address of the pod network that no pod has.
    fn departed(&self) -> Ipv4Addr;
}

/// The zone as the server sees it now.
pub(super) struct CurrentZone(RwLock<Arc<Zone>>);

impl CurrentZone {
    pub(super) fn new(zone: Zone) -> Self {
        Self(RwLock::new(Arc::new(zone)))
    }

    pub(super) fn set(&self, zone: Zone) {
        *write(&self.0) = Arc::new(zone);
    }

    fn get(&self) -> Arc<Zone> {
        Arc::clone(&read(&self.0))
    }
}

/// Answers questions.
pub(super) struct Handler<S> {
    pub(super) zone: Arc<CurrentZone>,
    pub(super) cluster: S,
}

#[async_trait]
impl<S: ClusterView> RequestHandler for Handler<S> {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let faults = self.cluster.faults();
        let silent = if request.protocol() == Protocol::Udp {
            Fault::DnsSilentUdp
        } else {
            Fault::DnsSilentTcp
        };
        if faults.contains(&silent) {
            return nothing_sent(&request.metadata);
        }
        if faults.contains(&Fault::DnsLossy) && rand::random::<f64>() < self.cluster.lost() {
            return nothing_sent(&request.metadata);
        }
        if faults.contains(&Fault::DnsSlow) {
            tokio::time::sleep(self.cluster.delay()).await;
        }
        let answer = self.answer(request, &faults);
        let is_datagram = request.protocol() == Protocol::Udp;
        if faults.contains(&Fault::DnsLargeDatagramLost) && is_datagram && answer.answers.len() > IN_512_BYTES {
            return nothing_sent(&request.metadata);
        }
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = answer.authoritative;
        metadata.recursion_available = true;
        metadata.response_code = answer.code;
        let message = builder.build(metadata, &answer.answers, [], &answer.soa, &answer.additionals);
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer could not be sent");
                nothing_sent(&request.metadata)
            }
        }
    }
}

fn nothing_sent(request: &Metadata) -> ResponseInfo {
    let metadata = Metadata::response_from_request(request);
    ResponseInfo::from(Header {
        metadata,
        counts: HeaderCounts::default(),
    })
}

struct Answer {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<WireRecord>,
    soa: Vec<WireRecord>,
    additionals: Vec<WireRecord>,
}

impl Answer {
    fn error(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            soa: Vec::new(),
            additionals: Vec::new(),
        }
    }
}

impl<S: ClusterView> Handler<S> {
    fn answer(&self, request: &Request, faults: &BTreeSet<Fault>) -> Answer {
        if request.metadata.op_code != OpCode::Query {
            return Answer::error(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else {
            return Answer::error(ResponseCode::FormErr);
        };
        let asked = info.query.original();
        let question = question(asked.query_type());
        let name = asked.name().to_ascii().trim_end_matches('.').to_lowercase();
        let zone = self.zone.get();
        let site = Site {
            name: &name,
            question,
            domain: zone.domain(),
            departed: self.cluster.departed(),
            elsewhere: &|namespace, service| self.cluster.elsewhere(namespace, service),
            is_global: &|namespace, service| self.cluster.is_global(namespace, service),
        };
        let right = zone.lookup(&name, question);
        let lookup = faults
            .iter()
            .fold(right, |lookup, fault| falsified(*fault, &site, lookup));
        render(lookup, asked.name(), &name, question, &zone)
    }
}

fn question(kind: RecordType) -> Question {
    match kind {
        RecordType::A => Question::A,
        RecordType::SRV => Question::Srv,
        RecordType::PTR => Question::Ptr,
        RecordType::CNAME => Question::Cname,
        RecordType::SOA => Question::Soa,
        _ => Question::Other,
    }
}

fn render(lookup: Lookup, asked: &Name, name: &str, question: Question, zone: &Zone) -> Answer {
    let apex = if name.ends_with(zone.domain()) {
        zone.domain()
    } else {
        "in-addr.arpa"
    };
    let negative = |code| Answer {
        authoritative: true,
        soa: soa(apex).into_iter().collect(),
        ..Answer::error(code)
    };
    match lookup {
        Lookup::Elsewhere => Answer::error(ResponseCode::ServFail),
        Lookup::NoName => negative(ResponseCode::NXDomain),
        Lookup::NoData if question == Question::Soa && name == apex => Answer {
            answers: soa(apex).into_iter().collect(),
            soa: Vec::new(),
            ..negative(ResponseCode::NoError)
        },
        Lookup::NoData => negative(ResponseCode::NoError),
        Lookup::Found { answers, additionals } => Answer {
            authoritative: true,
            // The owner is repeated as it was asked: some resolvers compare byte by byte (0x20 randomisation).
            answers: answers
                .iter()
                .filter_map(|record| wire(record, Some((name, asked))))
                .collect(),
            additionals: additionals.iter().filter_map(|record| wire(record, None)).collect(),
            ..Answer::error(ResponseCode::NoError)
        },
    }
}

fn wire(record: &Record, asked: Option<(&str, &Name)>) -> Option<WireRecord> {
    let owner = match asked {
        Some((name, asked)) if name == record.owner => asked.clone(),
        _ => absolute(&record.owner)?,
    };
    let data = match &record.data {
        Data::A(address) => RData::A(A(*address)),
        // Priority and weight as CoreDNS gives them to a single target.
        Data::Srv { port, target } => RData::SRV(SRV::new(0, 100, *port, absolute(target)?)),
        Data::Cname(target) => RData::CNAME(CNAME(absolute(target)?)),
        Data::Ptr(target) => RData::PTR(PTR(absolute(target)?)),
    };
    Some(WireRecord::from_rdata(owner, TTL, data))
}

fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

/// As CoreDNS's `kubernetes` plugin makes it; the serial is constant here, since nobody transfers the zone.
fn soa(apex: &str) -> Option<WireRecord> {
    let data = SOA::new(
        absolute(&format!("ns.dns.{apex}"))?,
        absolute(&format!("hostmaster.{apex}"))?,
        1,
        7200,
        1800,
        86400,
        TTL,
    );
    Some(WireRecord::from_rdata(absolute(apex)?, TTL, RData::SOA(data)))
}
