//! The DNS proxy: questions for names that no rule allows are refused; of the others the answers are remembered, so
//! that rules for names match their addresses.

use super::{Gate, Handed};
use crate::{enforcement::policy_state::PolicyState, state::ClusterState};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RData,
};
use meshproof_apiserver::resource::names::CONFIG_MAPS;
use meshproof_datapath::Protocol;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(4);

/// `tofqdns-dns-reject-response-code`.
#[derive(Clone, Copy)]
pub(super) struct Refusal(ResponseCode);

impl Refusal {
    /// As the cluster is configured.
    pub(super) fn of(cluster: &ClusterState) -> Self {
        let config = cluster.store.find(&CONFIG_MAPS, Some("kube-system"), "cilium-config");
        let named = config.is_some_and(|config| config["data"]["tofqdns-dns-reject-response-code"] == "nameError");
        Self(if named {
            ResponseCode::NXDomain
        } else {
            ResponseCode::Refused
        })
    }
}

pub(super) async fn run_udp(gate: Gate, refusal: Refusal) -> io::Result<()> {
    let socket = Arc::new(gate.bind(gate.port.0)?);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let (gate, socket, question) = (gate.clone(), Arc::clone(&socket), buffer[..length].to_vec());
        tokio::spawn(async move {
            let Some(handed) = gate.handed(client, Protocol::Udp).await else {
                return;
            };
            if let Some(answer) = answer(&gate, &handed, refusal, &question).await {
                // A client that has gone needs no answer.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

pub(super) async fn run_tcp(gate: Gate, refusal: Refusal) -> io::Result<()> {
    let listener = gate.listen()?;
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            continue;
        };
        let gate = gate.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(gate, refusal, stream, client).await {
                tracing::debug!(%error, "a proxied DNS connection ended");
            }
        });
    }
}

async fn serve(gate: Gate, refusal: Refusal, mut stream: TcpStream, client: SocketAddr) -> io::Result<()> {
    let Some(handed) = gate.handed(client, Protocol::Tcp).await else {
        return Ok(());
    };
    loop {
        let question = read_framed(&mut stream).await?;
        let Some(answer) = answer(&gate, &handed, refusal, &question).await else {
            return Ok(());
        };
        write_framed(&mut stream, &answer).await?;
    }
}

/// The answer to a question; none where the server gives none.
async fn answer(gate: &Gate, handed: &Handed, refusal: Refusal, question: &[u8]) -> Option<Vec<u8>> {
    let asked = Message::from_vec(question).ok()?;
    if !may_pass(gate, handed, &asked) {
        let mut refused = Message::error_msg(asked.metadata.id, asked.metadata.op_code, refusal.0);
        refused.metadata.recursion_desired = asked.metadata.recursion_desired;
        refused.add_queries(asked.queries);
        return refused.to_vec().ok();
    }
    let ask = async {
        match handed.protocol {
            Protocol::Tcp => ask_over_tcp(gate, handed, question).await,
            _ => ask_over_udp(gate, handed, question).await,
        }
    };
    let answer = tokio::time::timeout(TIMEOUT, ask).await.ok()?.ok()?;
    if let Ok(message) = Message::from_vec(&answer) {
        learn(gate, handed, &asked, &message);
    }
    Some(answer)
}

fn may_pass(gate: &Gate, handed: &Handed, asked: &Message) -> bool {
    let decision = gate.decide(handed);
    let mut queries = asked.queries.iter();
    queries.all(|query| decision.admits_name(&query.name().to_ascii()))
}

/// Addresses count for the name that was asked for, whatever names were in between.
fn learn(gate: &Gate, handed: &Handed, asked: &Message, answer: &Message) {
    let Some(query) = asked.queries.first() else { return };
    let name = query.name().to_ascii();
    for record in &answer.answers {
        if let RData::A(address) = &record.data {
            let ttl = Duration::from_secs(u64::from(record.ttl));
            PolicyState::of(&gate.node)
                .names
                .learn(*handed.client.ip(), &name, address.0, ttl);
        }
    }
}

async fn ask_over_udp(gate: &Gate, handed: &Handed, question: &[u8]) -> io::Result<Vec<u8>> {
    let socket: UdpSocket = gate.bind(0)?;
    gate.speak_for(handed, socket.local_addr()?).await;
    socket.connect(SocketAddr::from(handed.flow.backend)).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let length = socket.recv(&mut buffer).await?;
    buffer.truncate(length);
    Ok(buffer)
}

async fn ask_over_tcp(gate: &Gate, handed: &Handed, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = gate.connect(handed).await?;
    write_framed(&mut stream, question).await?;
    read_framed(&mut stream).await
}

/// A message with its length before it (RFC 1035, 4.2.2).
async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
