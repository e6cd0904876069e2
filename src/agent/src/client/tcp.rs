//! TCP: connecting, and the echo of an agent's TCP port.

use crate::{
    attempt::{Attempt, Peer},
    echo,
    failure::Failure,
    payload::Pattern,
    socket,
};
use meshproof_contract::Outcome;
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

const CHUNK: usize = 16 << 10;

pub(super) async fn connect(attempt: &mut Attempt, to: SocketAddr) -> Result<Outcome, Failure> {
    let stream = open(attempt, to).await?;
    let outcome = attempt.answered(Peer::default(), None, 0);
    drop(stream);
    Ok(outcome)
}

/// A connection that sends small writes at once.
pub(crate) async fn open(attempt: &mut Attempt, to: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = socket::connect_tcp(to).await?;
    attempt.connected();
    Ok(stream)
}

pub(super) async fn echo(
    attempt: &mut Attempt,
    to: SocketAddr,
    pattern: Pattern,
    payload: u32,
) -> Result<Outcome, Failure> {
    let stream = open(attempt, to).await?;
    let (mut reader, mut writer) = stream.into_split();
    let peer = exchange(attempt, &mut reader, &mut writer, pattern, payload).await?;
    Ok(attempt.answered(peer, None, u64::from(payload)))
}

/// One request and its echo on an open connection. Reading and writing go on at once: neither side has to hold the
/// payload.
async fn exchange(
    attempt: &mut Attempt,
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    pattern: Pattern,
    payload: u32,
) -> Result<Peer, Failure> {
    let mut send = std::pin::pin!(send(writer, pattern, payload));
    let mut receive = std::pin::pin!(receive(attempt, reader, pattern, payload));
    let (mut sending, mut reset) = (true, None);
    loop {
        tokio::select! {
            biased;
            received = &mut receive => return match (received, reset) {
                (Err(Failure::Closed), Some(reset)) => Err(Failure::Io(reset)),
                (received, _) => received,
            },
            // What reading sees explains best why writing failed: an orderly end or a reset. A reset that writing met,
            // however, is reported only once, and reading takes it for an orderly end after that.
            sent = &mut send, if sending => {
                sending = false;
                reset = sent.err().filter(|error| error.kind() == io::ErrorKind::ConnectionReset);
            }
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, pattern: Pattern, payload: u32) -> io::Result<()> {
    let mut chunk = echo::tcp_request(payload).to_vec();
    let total = payload as usize;
    let mut sent = 0;
    loop {
        let n = (total - sent).min(CHUNK);
        let header = chunk.len();
        chunk.resize(header + n, 0);
        pattern.fill(sent as u64, &mut chunk[header..]);
        writer.write_all(&chunk).await?;
        sent += n;
        if sent == total {
            return Ok(());
        }
        chunk.clear();
    }
}

async fn receive(
    attempt: &mut Attempt,
    reader: &mut OwnedReadHalf,
    pattern: Pattern,
    payload: u32,
) -> Result<Peer, Failure> {
    let mut head = [0; echo::TCP_HEADER];
    read_exact(attempt, reader, &mut head).await?;
    let length = echo::tcp_answer_card(&head)
        .ok_or_else(|| Failure::Corrupted("the answer is not from an agent's TCP port".to_owned()))?;
    let mut card = vec![0; length];
    read_exact(attempt, reader, &mut card).await?;
    let card: echo::Card = serde_json::from_slice(&card)
        .map_err(|error| Failure::Corrupted(format!("cannot decode the server's identity: {error}")))?;
    let total = u64::from(payload);
    let mut at = 0;
    let mut chunk = vec![0; CHUNK.min(payload as usize)];
    while at < total {
        let room = chunk.len().min((total - at) as usize);
        let n = reader.read(&mut chunk[..room]).await?;
        if n == 0 {
            return Err(Failure::Closed);
        }
        attempt.received(n);
        if let Some(position) = pattern.difference(at, &chunk[..n]) {
            return Err(Failure::Corrupted(format!(
                "byte {position} of {total} differs in the echo"
            )));
        }
        at += n as u64;
    }
    Ok(Peer {
        identity: Some(card.identity),
        source: Some(card.source),
    })
}

async fn read_exact(attempt: &mut Attempt, reader: &mut OwnedReadHalf, buffer: &mut [u8]) -> Result<(), Failure> {
    let mut filled = 0;
    while filled < buffer.len() {
        let n = reader.read(&mut buffer[filled..]).await?;
        if n == 0 {
            return Err(Failure::Closed);
        }
        attempt.received(n);
        filled += n;
    }
    Ok(())
}
