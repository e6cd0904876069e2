//! The control port: the harness's frames (`meshproof-wire`), on loopback only.

use super::{Acceptor, Shared};
use crate::{batch, capture::Captures, clock, memory, prober::Prober, stream::Streams};
use meshproof_contract::Target;
use meshproof_wire::{
    Answer, Command, FrameError, Hello, PROTOCOL, Request, Response, decode, encode, read_body, write_frame,
};
use serde::Deserialize;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::timeout,
};

/// Streams of harnesses at a time.
const STREAMS: usize = 32;
/// Requests under way on one stream; further frames are not read until one is done.
const REQUESTS: usize = 64;
/// A relay ends after this time, whatever the harness and the far side do.
const RELAY: Duration = Duration::from_secs(60);

/// What control connections command; all of them the same.
pub(crate) struct Duties {
    pub(crate) shared: Arc<Shared>,
    pub(crate) prober: Arc<Prober>,
    pub(crate) streams: Streams,
    pub(crate) captures: Captures,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, duties: Duties) {
    let acceptor = Acceptor::new(listener, STREAMS);
    let duties = Arc::new(duties);
    loop {
        let (stream, _, permit) = acceptor.accept().await;
        let duties = Arc::clone(&duties);
        tokio::spawn(async move {
            converse(stream, duties).await;
            drop(permit);
        });
    }
}

async fn converse(stream: TcpStream, duties: Arc<Duties>) {
    let (mut reader, mut writer) = stream.into_split();
    if write_frame(&mut writer, &hello(&duties)).await.is_err() {
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
        if let Ok(Request {
            id,
            command: Command::Relay { to, deadline },
        }) = request
        {
            while requests.join_next().await.is_some() {}
            let mut writer = writer.lock().await;
            relay(&duties.prober, (&mut reader, &mut *writer), id, (&to, deadline)).await;
            return;
        }
        let (duties, writer) = (Arc::clone(&duties), Arc::clone(&writer));
        requests.spawn(async move {
            let (id, answer) = match request {
                Ok(Request { id, command }) => (id, carry_out(command, &duties).await),
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
    // The harness has sent all that it wants to; it may still be reading (an exec whose stdin ended).
    while requests.join_next().await.is_some() {}
    let _ = writer.lock().await.shutdown().await;
}

/// Connects for the harness, and carries its bytes until either side ends.
async fn relay(
    prober: &Prober,
    (reader, writer): (&mut OwnedReadHalf, &mut OwnedWriteHalf),
    id: u64,
    (to, deadline): (&Target, u64),
) {
    let (outcome, stream) = prober.connect(to, Duration::from_micros(deadline)).await;
    let answer = Answer::Outcomes {
        outcomes: vec![outcome],
    };
    if write_frame(writer, &Response { id, answer }).await.is_err() {
        return;
    }
    let Some(mut stream) = stream else {
        return;
    };
    let mut harness = tokio::io::join(reader, writer);
    // What ends or breaks it, either side sees for itself.
    let _ = timeout(RELAY, copy_bidirectional(&mut harness, &mut stream)).await;
}

fn hello(duties: &Duties) -> Hello {
    let config = duties.prober.resolver.config().ok();
    Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        identity: duties.shared.settings.identity.clone(),
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

async fn carry_out(command: Command, duties: &Duties) -> Answer {
    let Duties {
        shared,
        prober,
        streams,
        captures,
    } = duties;
    let stream = |report| Answer::Stream { report };
    let capture = |report| Answer::Capture { report };
    let result = match command {
        Command::Batch { probes } => Ok(Answer::Outcomes {
            outcomes: batch::run(prober, probes).await,
        }),
        Command::SetReady { ready } => {
            shared.ready.store(ready, Ordering::Relaxed);
            Ok(Answer::Done)
        }
        Command::Ping => Ok(Answer::Done),
        Command::Clock => Ok(Answer::Clock {
            micros: clock::micros(),
        }),
        Command::StartStream { stream, spec } => streams.start(stream, spec, prober).map(|()| Answer::Done),
        Command::CollectStream { stream: number } => streams.collect(number).map(stream),
        Command::StopStream { stream: number } => streams.stop(number).await.map(stream),
        Command::StartCapture { capture, spec } => captures.start(capture, spec).map(|()| Answer::Done),
        Command::CollectCapture { capture: number } => captures.collect(number).map(capture),
        // It takes over the whole stream, and so does not come here.
        Command::Relay { .. } => Err("a relay needs a stream of its own".to_owned()),
        Command::StopCapture { capture: number } => captures.stop(number).map(capture),
    };
    result.unwrap_or_else(|reason| Answer::Error { reason })
}

async fn respond(writer: &Mutex<OwnedWriteHalf>, id: u64, answer: Answer) {
    let frame = encode(&Response { id, answer }).or_else(|error| {
        let reason = format!("failed to encode the answer: {error}; request less at a time");
        encode(&Response {
            id,
            answer: Answer::Error { reason },
        })
    });
    if let Ok(frame) = frame {
        // A harness that went away reads no answer.
        let _ = writer.lock().await.write_all(&frame).await;
        let large = frame.len() > 1 << 16;
        drop(frame);
        if large {
            memory::give_back();
        }
    }
}
