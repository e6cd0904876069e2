//! A series of one action: open loop, so that a stall costs every probe that it covers, not one.

use crate::{client::HttpSession, pressure, prober::Prober, ticker::Ticker};
use meshproof_contract::{Identity, Outcome, Probe, probe::Connection};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// The longest series; its latencies fit a frame with room for others.
const LONGEST: u32 = 200_000;

/// Runs a series to its end.
pub(crate) async fn run(prober: &Arc<Prober>, probe: Probe) -> Outcome {
    if probe.count == 0 || probe.count > LONGEST {
        return Outcome::LocalError {
            reason: format!("a series has 1 to {LONGEST} probes, not {}", probe.count),
        };
    }
    let waited = pressure::cpu_waited();
    let mut tally = SeriesTally::default();
    let result = if probe.interval.is_zero() {
        back_to_back(prober, &probe, &mut tally).await;
        Ok(())
    } else if Prober::shares_connection(&probe.action) {
        one_connection(prober, &probe, &mut tally).await
    } else {
        open_loop(prober, probe, &mut tally).await
    };
    match result {
        Ok(()) => tally.outcome(waited.and_then(|before| pressure::cpu_waited()?.checked_sub(before))),
        Err(error) => Outcome::LocalError {
            reason: format!("the timer failed: {error}"),
        },
    }
}

fn session(probe: &Probe) -> HttpSession {
    HttpSession::new(if Prober::shares_connection(&probe.action) {
        Connection::KeepAlive
    } else {
        Connection::New
    })
}

async fn back_to_back(prober: &Prober, probe: &Probe, tally: &mut SeriesTally) {
    let mut session = session(probe);
    for number in 0..probe.count {
        let scheduled = Instant::now();
        let outcome = prober.with_session(probe, Some(scheduled), &mut session).await;
        tally.add(number, scheduled, outcome);
    }
}

/// Requests queue for the connection, as an application's would; their latency counts from when they were due.
async fn one_connection(prober: &Prober, probe: &Probe, tally: &mut SeriesTally) -> std::io::Result<()> {
    let mut session = session(probe);
    let mut ticker = Ticker::new(probe.interval)?;
    for number in 0..probe.count {
        let scheduled = ticker.due(number);
        let free = Instant::now();
        ticker.wait_until(scheduled).await?;
        // Waiting for the connection is the network's doing, waking up late is ours.
        tally.lagged(scheduled.max(free));
        let outcome = prober.with_session(probe, Some(scheduled), &mut session).await;
        tally.add(number, scheduled, outcome);
    }
    Ok(())
}

async fn open_loop(prober: &Arc<Prober>, probe: Probe, tally: &mut SeriesTally) -> std::io::Result<()> {
    let probe = Arc::new(probe);
    let mut ticker = Ticker::new(probe.interval)?;
    let mut under_way = JoinSet::new();
    for number in 0..probe.count {
        let scheduled = ticker.due(number);
        ticker.wait_until(scheduled).await?;
        tally.lagged(scheduled);
        let (prober, probe) = (Arc::clone(prober), Arc::clone(&probe));
        under_way.spawn(async move { (number, scheduled, prober.once(&probe, Some(scheduled)).await) });
        while let Some(Ok((number, scheduled, outcome))) = under_way.try_join_next() {
            tally.add(number, scheduled, outcome);
        }
    }
    while let Some(Ok((number, scheduled, outcome))) = under_way.join_next().await {
        tally.add(number, scheduled, outcome);
    }
    Ok(())
}

/// What a series saw so far.
#[derive(Debug, Default)]
struct SeriesTally {
    latencies: Vec<(u32, u32)>,
    failures: Vec<(u32, Outcome)>,
    served_by: Vec<(Identity, u32)>,
    lag: Duration,
}

impl SeriesTally {
    fn lagged(&mut self, due: Instant) {
        self.lag = self.lag.max(due.elapsed());
    }

    fn add(&mut self, number: u32, scheduled: Instant, outcome: Outcome) {
        if let Some(identity) = outcome.served_by() {
            match self.served_by.iter_mut().find(|(known, _)| known == identity) {
                Some((_, count)) => *count += 1,
                None => self.served_by.push((identity.clone(), 1)),
            }
        }
        if outcome.is_success() {
            let latency = outcome
                .total()
                .unwrap_or_else(|| scheduled.elapsed().as_micros() as u64);
            self.latencies
                .push((number, u32::try_from(latency).unwrap_or(u32::MAX)));
        } else {
            self.failures.push((number, outcome));
        }
    }

    fn outcome(mut self, starved: Option<u64>) -> Outcome {
        self.latencies.sort_unstable();
        self.failures.sort_by_key(|(number, _)| *number);
        Outcome::Series {
            latencies: self.latencies.into_iter().map(|(_, latency)| latency).collect(),
            failures: self.failures,
            served_by: self.served_by,
            lag: u64::try_from(self.lag.as_micros()).unwrap_or(u64::MAX),
            starved,
        }
    }
}
