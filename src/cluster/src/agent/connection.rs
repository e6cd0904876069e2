//! The wire protocol on one stream: the greeting, then requests and answers matched by id. Does not know how the stream
//! was opened.

use super::route::{Guard, Stream};
use crate::api::one_line;
use meshproof_wire::{Answer, Command, FrameError, Hello, Request, Response, encode, read_frame};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// How long an agent may take to greet.
const GREETING: Duration = Duration::from_secs(10);

/// An open stream to an agent. Dropping it closes the stream.
pub(super) struct Connection {
    hello: Hello,
    requests: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
    _tasks: JoinSet<()>,
    _guard: Guard,
}

/// The pending requests, until the stream ends.
enum Waiting {
    Open {
        next: u64,
        pending: HashMap<u64, oneshot::Sender<Answer>>,
    },
    Closed(String),
}

/// The stream ended; nothing is known about the pending requests.
#[derive(Clone, Debug)]
pub(super) struct Closed(pub(super) String);

impl Connection {
    /// Reads the greeting and starts to serve the stream.
    pub(super) async fn start(stream: Stream) -> Result<Self, Closed> {
        let Stream {
            mut reader,
            mut writer,
            guard,
            failure,
        } = stream;
        let hello = match tokio::time::timeout(GREETING, read_frame::<Hello>(&mut reader)).await {
            Ok(Ok(Some(hello))) => hello,
            Ok(ended) => return Err(Closed(why(ended.map(|_| ()), failure).await)),
            Err(_) => return Err(Closed(format!("no greeting within {} s", GREETING.as_secs()))),
        };
        let waiting = Arc::new(Mutex::new(Waiting::Open {
            next: 1,
            pending: HashMap::new(),
        }));
        let (requests, mut frames) = mpsc::channel::<Vec<u8>>(16);
        let mut tasks = JoinSet::new();
        let answered = waiting.clone();
        tasks.spawn(async move {
            let end = loop {
                match read_frame::<Response>(&mut reader).await {
                    Ok(Some(response)) => lock(&answered).answer(response),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            let reason = why(end, failure).await;
            *lock(&answered) = Waiting::Closed(reason);
        });
        // A task of its own, so that a caller whose future is dropped never leaves half a frame behind.
        let broken = waiting.clone();
        tasks.spawn(async move {
            while let Some(frame) = frames.recv().await {
                let written = async {
                    writer.write_all(&frame).await?;
                    writer.flush().await
                };
                if let Err(error) = written.await {
                    *lock(&broken) = Waiting::Closed(format!("the stream broke: {error}"));
                    break;
                }
            }
        });
        Ok(Self {
            hello,
            requests,
            waiting,
            _tasks: tasks,
            _guard: guard,
        })
    }

    /// The agent's greeting.
    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether the stream is still open, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        matches!(*lock(&self.waiting), Waiting::Open { .. })
    }

    /// Sends a command and waits for its answer, as long as the stream is open.
    pub(super) async fn request(&self, command: Command) -> Result<Answer, Closed> {
        let (sender, answer) = oneshot::channel();
        let id = match &mut *lock(&self.waiting) {
            Waiting::Closed(reason) => return Err(Closed(reason.clone())),
            Waiting::Open { next, pending } => {
                let id = *next;
                *next += 1;
                pending.insert(id, sender);
                id
            }
        };
        let frame = encode(&Request { id, command }).map_err(|e| Closed(e.to_string()))?;
        let sent = self.requests.send(frame).await;
        match (sent, answer.await) {
            (Ok(()), Ok(answer)) => Ok(answer),
            _ => Err(Closed(self.end())),
        }
    }

    fn end(&self) -> String {
        match &*lock(&self.waiting) {
            Waiting::Closed(reason) => reason.clone(),
            Waiting::Open { .. } => "the stream ended".to_owned(),
        }
    }
}

impl Waiting {
    fn answer(&mut self, response: Response) {
        if let Waiting::Open { pending, .. } = self {
            match pending.remove(&response.id) {
                // The caller may have stopped waiting.
                Some(sender) => drop(sender.send(response.answer)),
                None => tracing::debug!(id = response.id, "an answer to an unknown request"),
            }
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a stream ended: what the far side reports, or else the error of reading.
async fn why(end: Result<(), FrameError>, failure: impl Future<Output = Option<String>>) -> String {
    let reported = tokio::time::timeout(Duration::from_secs(1), failure)
        .await
        .ok()
        .flatten();
    match (reported, end) {
        (Some(reported), _) => one_line(&reported),
        (None, Ok(())) => "the stream ended".to_owned(),
        (None, Err(error)) => error.to_string(),
    }
}
