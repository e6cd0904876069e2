//! The TCP server of the agents' private echo protocol ([`crate::echo`]).

use super::{Acceptor, CONNECTIONS, FIRST_WORD, IDLE, Shared};
use crate::echo::{self, Card};
use meshproof_contract::probe::MAX_PAYLOAD;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const CHUNK: usize = 16 << 10;

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let acceptor = Acceptor::new(listener, CONNECTIONS);
    loop {
        let (stream, peer, permit) = acceptor.accept().await;
        let card = Card {
            identity: shared.settings.identity.clone(),
            source: peer.ip(),
            mtu: None,
        };
        tokio::spawn(async move {
            // A client that leaves or talks nonsense is left alone.
            let _ = converse(stream, &card).await;
            drop(permit);
        });
    }
}

async fn converse(mut stream: TcpStream, card: &Card) -> io::Result<()> {
    let answer = echo::tcp_answer(card);
    let mut patience = FIRST_WORD;
    loop {
        let mut header = [0; echo::TCP_HEADER];
        within(patience, stream.read_exact(&mut header)).await?;
        let Some(length) = echo::tcp_request_length(&header).filter(|length| *length <= MAX_PAYLOAD) else {
            return Ok(());
        };
        within(IDLE, stream.write_all(&answer)).await?;
        give_back(&mut stream, length as usize).await?;
        patience = IDLE;
    }
}

/// Sends the next `length` bytes back as they come; an idle connection holds no buffer.
async fn give_back(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        within(IDLE, stream.readable()).await?;
        let mut chunk = vec![0; left.min(CHUNK)];
        let n = match stream.try_read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        within(IDLE, stream.write_all(&chunk[..n])).await?;
        left -= n;
    }
    Ok(())
}

async fn within<T>(patience: Duration, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, io)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
