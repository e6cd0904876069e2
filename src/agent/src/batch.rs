//! Batches: all probes of one at once, single ones and series alike.

use crate::{memory, prober::Prober, series};
use meshproof_contract::{Outcome, Probe};
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet, yield_now};

/// Probes that are started before the runtime looks at sockets again, so that a burst of thousands does not age in our
/// own queue.
const BURST: usize = 32;

/// Runs all probes at once; the outcomes are in their order. Dropping it ends them.
pub(crate) async fn run(prober: &Arc<Prober>, probes: Vec<Probe>) -> Vec<Outcome> {
    let mut outcomes = Outcomes(probes.iter().map(|_| None).collect());
    let mut tasks = JoinSet::new();
    for (index, probe) in probes.into_iter().enumerate() {
        if index % BURST == BURST - 1 {
            yield_now().await;
            // A finished task keeps its memory until it is joined.
            while let Some(done) = tasks.try_join_next() {
                outcomes.put(done);
            }
        }
        let prober = Arc::clone(prober);
        tasks.spawn(async move { (index, one(&prober, probe).await) });
    }
    while let Some(done) = tasks.join_next().await {
        outcomes.put(done);
    }
    drop(tasks);
    let outcomes = outcomes.complete();
    memory::give_back();
    outcomes
}

async fn one(prober: &Arc<Prober>, probe: Probe) -> Outcome {
    if probe.count == 1 {
        return prober.once(&probe, None).await;
    }
    Box::pin(series::run(prober, probe)).await
}

/// The outcomes of a batch as they come.
struct Outcomes(Vec<Option<Outcome>>);

impl Outcomes {
    fn put(&mut self, done: Result<(usize, Outcome), JoinError>) {
        if let Ok((index, outcome)) = done {
            self.0[index] = Some(outcome);
        }
    }

    fn complete(self) -> Vec<Outcome> {
        let lost = || Outcome::LocalError {
            reason: "internal error: the probe's task ended without an outcome".to_owned(),
        };
        self.0.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
    }
}
