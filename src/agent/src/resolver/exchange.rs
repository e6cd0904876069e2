//! One DNS question to one server, over UDP or TCP, without a cache.
//!
//! Questions carry EDNS with 1,232 bytes (DNS flag day 2020), the recursion bit, and are asked once: a lost datagram is
//! seen as lost. A truncated UDP answer is asked again over TCP to the same server, as glibc, musl since 1.2.4 and Go
//! do.

use crate::{failure::Failure, socket};
use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use meshproof_contract::{DnsAnswer, DnsCode, Transport};
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const EDNS_PAYLOAD: u16 = 1232;

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: DnsCode,
    pub(crate) answers: Vec<DnsAnswer>,
    pub(crate) server: IpAddr,
}

/// Asks `server` for the records of a name.
pub(crate) async fn ask(
    server: SocketAddr,
    name: &Name,
    record: RecordType,
    transport: Transport,
) -> Result<Reply, Failure> {
    let message = question_for(name, record);
    let question = message
        .to_vec()
        .map_err(|error| Failure::Local(format!("failed to encode the question for {name}: {error}")))?;
    let response = match transport {
        Transport::Udp => {
            let response = over_udp(server, &message, &question).await?;
            if response.metadata.truncation {
                over_tcp(server, &message, &question).await?
            } else {
                response
            }
        }
        Transport::Tcp => over_tcp(server, &message, &question).await?,
    };
    Ok(reply_of(&response, record, server.ip()))
}

fn question_for(name: &Name, record: RecordType) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(EDNS_PAYLOAD).set_version(0);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), record));
    message.set_edns(edns);
    message
}

fn reply_of(response: &Message, record: RecordType, server: IpAddr) -> Reply {
    Reply {
        code: code(response.metadata.response_code),
        answers: response
            .answers
            .iter()
            .filter(|answer| answer.record_type() == record)
            .filter_map(|answer| answer_of(&answer.data))
            .collect(),
        server,
    }
}

/// What the agent makes of this response to a question for `name`, if it takes it for an answer.
pub(crate) fn reply_to(name: &Name, record: RecordType, response: &[u8]) -> Option<Reply> {
    let mut question = question_for(name, record);
    question.metadata.id = u16::from_be_bytes(*response.first_chunk()?);
    let response = understand(&question, response).ok()?;
    Some(reply_of(&response, record, IpAddr::from([10, 96, 0, 10])))
}

async fn over_udp(server: SocketAddr, message: &Message, question: &[u8]) -> Result<Message, Failure> {
    let socket = socket::connected_udp(server).await?;
    socket::send(&socket, question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // A datagram with another id is not the answer: late, or a stranger's.
        if buffer[..length].starts_with(&question[..2]) {
            return understand(message, &buffer[..length]);
        }
    }
}

async fn over_tcp(server: SocketAddr, message: &Message, question: &[u8]) -> Result<Message, Failure> {
    let mut stream = socket::connect_tcp(server).await?;
    let mut frame = (question.len() as u16).to_be_bytes().to_vec();
    frame.extend(question);
    stream.write_all(&frame).await?;
    let length = stream.read_u16().await?;
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await?;
    understand(message, &response)
}

fn understand(question: &Message, response: &[u8]) -> Result<Message, Failure> {
    let response = Message::from_vec(response)
        .map_err(|error| Failure::Corrupted(format!("cannot decode the DNS server's answer: {error}")))?;
    let fits = response.metadata.id == question.metadata.id
        && response.metadata.message_type == MessageType::Response
        // Some servers leave the question out of error responses.
        && (response.queries.is_empty() && response.metadata.response_code != ResponseCode::NoError
            || response.queries == question.queries);
    if fits {
        Ok(response)
    } else {
        Err(Failure::Corrupted(
            "the DNS server's answer does not match the question".to_owned(),
        ))
    }
}

fn code(code: ResponseCode) -> DnsCode {
    match code {
        ResponseCode::NoError => DnsCode::NoError,
        ResponseCode::NXDomain => DnsCode::NxDomain,
        ResponseCode::ServFail => DnsCode::ServFail,
        ResponseCode::Refused => DnsCode::Refused,
        ResponseCode::FormErr => DnsCode::FormErr,
        ResponseCode::NotImp => DnsCode::NotImp,
        other => DnsCode::Other(other.into()),
    }
}

fn answer_of(data: &RData) -> Option<DnsAnswer> {
    Some(match data {
        RData::A(address) => DnsAnswer::Address(address.0.into()),
        RData::AAAA(address) => DnsAnswer::Address(address.0.into()),
        RData::PTR(name) => DnsAnswer::Name(absolute(&name.0)),
        RData::CNAME(name) => DnsAnswer::Name(absolute(&name.0)),
        RData::SRV(service) => DnsAnswer::Service {
            target: absolute(&service.target),
            port: service.port,
        },
        _ => return None,
    })
}

fn absolute(name: &Name) -> String {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name.to_string()
}
