//! Open-loop streams that run beside batches: started, collected from and stopped by number. They outlive control
//! connections and end by themselves.

mod long_tcp;
mod record;

use crate::{client::HttpSession, prober::Prober, ticker::Ticker};
use meshproof_contract::{Action, Probe, StreamKind, StreamReport, StreamSpec, probe::Connection};
use record::SharedRecord;
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Streams that an agent keeps at a time, ended ones included.
const MOST: usize = 64;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
const LONGEST_LIFE: Duration = Duration::from_secs(3600);
const LARGEST_PING: u32 = 4096;

/// The streams of an agent.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<u64, Stream>>);

struct Stream {
    record: SharedRecord,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Streams {
    /// Starts a stream; the error is for people.
    pub(crate) fn start(&self, number: u64, spec: StreamSpec, prober: &Arc<Prober>) -> Result<(), String> {
        check(&spec)?;
        let mut streams = self.lock();
        if streams.contains_key(&number) {
            return Err(format!(
                "stream {number} already exists: stop it first, or choose another number"
            ));
        }
        if streams.len() >= MOST {
            // Those of a harness that died.
            streams.retain(|_, stream| !stream.task.is_finished());
        }
        if streams.len() >= MOST {
            return Err(format!("an agent runs at most {MOST} streams: stop one first"));
        }
        let ticker = Ticker::new(spec.interval).map_err(|error| format!("failed to create a timer: {error}"))?;
        let record = SharedRecord::new(spec.interval);
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(spec, ticker, Arc::clone(prober), record.clone(), stop.clone()));
        streams.insert(number, Stream { record, stop, task });
        Ok(())
    }

    /// What is known since the last time.
    pub(crate) fn collect(&self, number: u64) -> Result<StreamReport, String> {
        self.lock()
            .get(&number)
            .map(|stream| stream.record.report())
            .ok_or_else(|| unknown(number))
    }

    /// Ends a stream and waits for what is under way.
    pub(crate) async fn stop(&self, number: u64) -> Result<StreamReport, String> {
        let mut stream = self.lock().remove(&number).ok_or_else(|| unknown(number))?;
        stream.stop.cancel();
        // It ends within its deadline.
        let _ = (&mut stream.task).await;
        Ok(stream.record.report())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(number: u64) -> String {
    format!("unknown stream {number}")
}

fn check(spec: &StreamSpec) -> Result<(), String> {
    if spec.interval < SHORTEST_INTERVAL {
        return Err(format!(
            "the interval of a stream must be at least {SHORTEST_INTERVAL:?}"
        ));
    }
    if spec.lifetime > LONGEST_LIFE {
        return Err(format!("a stream lasts at most {} s", LONGEST_LIFE.as_secs()));
    }
    if spec.deadline.is_zero() || spec.deadline > Duration::from_secs(60) {
        return Err("the deadline of a stream's probes must be above 0 s and at most 60 s".to_owned());
    }
    match &spec.kind {
        StreamKind::Each {
            action: Action::PathMtu { .. },
        } => Err("a path MTU probe cannot run as a stream".to_owned()),
        StreamKind::LongTcp { payload, .. } if *payload > LARGEST_PING => {
            Err(format!("a ping carries at most {LARGEST_PING} bytes"))
        }
        _ => Ok(()),
    }
}

async fn run(spec: StreamSpec, mut ticker: Ticker, prober: Arc<Prober>, record: SharedRecord, stop: CancellationToken) {
    let probes = u32::try_from(spec.lifetime.as_micros() / spec.interval.as_micros()).unwrap_or(u32::MAX);
    let result = match spec.kind {
        StreamKind::LongTcp { to, payload } => {
            let pings = long_tcp::Pings {
                to,
                payload,
                probes,
                deadline: spec.deadline,
            };
            long_tcp::run(pings, &mut ticker, &prober.resolver, &record, &stop).await
        }
        StreamKind::Each { action } => {
            let probe = Probe::once(action, spec.deadline);
            if Prober::shares_connection(&probe.action) {
                one_connection(probe, probes, &mut ticker, &prober, &record, &stop).await
            } else {
                each(probe, probes, &mut ticker, &prober, &record, &stop).await
            }
        }
    };
    // Without its timer a stream cannot go on: its end shows what is missing.
    drop(result);
    record.ended();
}

/// Every probe on its own.
async fn each(
    probe: Probe,
    probes: u32,
    ticker: &mut Ticker,
    prober: &Arc<Prober>,
    record: &SharedRecord,
    stop: &CancellationToken,
) -> io::Result<()> {
    let probe = Arc::new(probe);
    let mut under_way = JoinSet::new();
    for number in 0..probes {
        let due = ticker.due(number);
        if !wait(ticker, due, stop).await? {
            break;
        }
        let late = record.sent(due);
        while under_way.try_join_next().is_some() {}
        let (prober, probe, record) = (Arc::clone(prober), Arc::clone(&probe), record.clone());
        under_way.spawn(async move {
            let mut session = HttpSession::new(Connection::New);
            let outcome = prober.late(&probe, due, late, &mut session).await;
            record.put(u64::from(number), late, outcome);
        });
    }
    while under_way.join_next().await.is_some() {}
    Ok(())
}

/// One after another on one HTTP connection: a request whose turn comes after its deadline has met a stall.
async fn one_connection(
    probe: Probe,
    probes: u32,
    ticker: &mut Ticker,
    prober: &Arc<Prober>,
    record: &SharedRecord,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut session = HttpSession::new(Connection::KeepAlive);
    for number in 0..probes {
        let due = ticker.due(number);
        let free = tokio::time::Instant::now();
        if !wait(ticker, due, stop).await? {
            break;
        }
        let late = record.sent(due.max(free));
        let outcome = prober.late(&probe, due, late, &mut session).await;
        record.connections(session.connections());
        record.put(u64::from(number), late, outcome);
    }
    Ok(())
}

/// Waits for the next probe's time; false if the stream was stopped.
async fn wait(ticker: &mut Ticker, due: tokio::time::Instant, stop: &CancellationToken) -> io::Result<bool> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(false),
        waited = ticker.wait_until(due) => waited.map(|()| true),
    }
}
