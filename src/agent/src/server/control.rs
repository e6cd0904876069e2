//! The control port: the harness's frames (`meshproof-wire`), on loopback only.

use super::{Acceptor, Shared};
use crate::{memory, prober::Prober};
use meshproof_wire::{
    Answer, Command, FrameError, Hello, PROTOCOL, Request, Response, decode, encode, read_body, write_frame,
};
use serde::Deserialize;
use std::sync::{Arc, atomic::Ordering};
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

/// Streams of harnesses at a time.
const STREAMS: usize = 32;
/// Requests under way on one stream; further frames are not read until one is done.
const REQUESTS: usize = 64;

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, prober: Arc<Prober>) {
    let acceptor = Acceptor::new(listener, STREAMS);
    loop {
        let (stream, _, permit) = acceptor.accept().await;
        let (shared, prober) = (Arc::clone(&shared), Arc::clone(&prober));
        tokio::spawn(async move {
            converse(stream, shared, prober).await;
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>, prober: Arc<Prober>) {
    let (mut reader, mut writer) = stream.into_split();
    if write_frame(&mut writer, &hello(&shared, &prober)).await.is_err() {
        return;
    }
    let writer = Arc::new(Mutex::new(writer));
    let permits = Arc::new(Semaphore::new(REQUESTS));
    let mut requests = JoinSet::new();
    let end = loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            break None;
        };
        while requests.try_join_next().is_some() {}
        let request = match next_request(&mut reader).await {
            Ok(Some(request)) => request,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        let (shared, prober, writer) = (Arc::clone(&shared), Arc::clone(&prober), Arc::clone(&writer));
        requests.spawn(async move {
            let (id, answer) = match request {
                Ok(Request { id, command }) => (id, carry_out(command, &shared, &prober).await),
                Err((id, reason)) => (id, Answer::Error { reason }),
            };
            respond(&writer, id, answer).await;
            drop(permit);
        });
    };
    if let Some(error) = end {
        // What follows cannot be read: say why, drop what is under way, and close.
        respond(
            &writer,
            0,
            Answer::Error {
                reason: error.to_string(),
            },
        )
        .await;
        return;
    }
    // The harness has said all that it wants to; it may still be reading (an exec whose stdin ended).
    while requests.join_next().await.is_some() {}
    let _ = writer.lock().await.shutdown().await;
}

fn hello(shared: &Shared, prober: &Prober) -> Hello {
    let config = prober.resolver.config().ok();
    Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        identity: shared.settings.identity.clone(),
        nameservers: config
            .iter()
            .flat_map(|c| &c.servers)
            .map(ToString::to_string)
            .collect(),
        search: config.iter().flat_map(|c| &c.search).map(ToString::to_string).collect(),
    }
}

/// A request, or the id and the complaint if it is one that this agent does not understand.
type Understood = Result<Request, (u64, String)>;

async fn next_request(reader: &mut OwnedReadHalf) -> Result<Option<Understood>, FrameError> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: u64,
    }
    let Some(body) = read_body(reader).await? else {
        return Ok(None);
    };
    Ok(Some(decode::<Request>(&body).map_err(|error| {
        // A frame is self-contained: the next one can be understood again.
        let id = decode::<OnlyId>(&body).map_or(0, |only| only.id);
        (
            id,
            format!("this agent (protocol {PROTOCOL}) does not understand the request: {error}"),
        )
    })))
}

async fn carry_out(command: Command, shared: &Shared, prober: &Arc<Prober>) -> Answer {
    match command {
        Command::Batch { probes } => Answer::Outcomes {
            outcomes: Prober::batch(prober, probes).await,
        },
        Command::SetReady { ready } => {
            shared.ready.store(ready, Ordering::Relaxed);
            Answer::Done
        }
        Command::Ping => Answer::Done,
    }
}

async fn respond(writer: &Mutex<OwnedWriteHalf>, id: u64, answer: Answer) {
    let frame = encode(&Response { id, answer }).or_else(|error| {
        let reason = format!("failed to encode the answer: {error}; ask for less at a time");
        encode(&Response {
            id,
            answer: Answer::Error { reason },
        })
    });
    if let Ok(frame) = frame {
        // A harness that went away has nobody to tell.
        let _ = writer.lock().await.write_all(&frame).await;
        let large = frame.len() > 1 << 16;
        drop(frame);
        if large {
            memory::give_back();
        }
    }
}
