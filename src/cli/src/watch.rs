//! How long a watch lasts, and what ends it.

use crate::rollout::Rollout;
use meshproof_contract::{ClusterName, Environment, RunShared, watching::Watching};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// A watch that nobody ends does so after a day.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// How long to watch, and how closely.
#[derive(Clone, Debug)]
pub struct Watch {
    /// At most so long.
    pub time: Duration,
    /// Until this is rolled out.
    pub rollout: Option<Rollout>,
    /// Time between two probes of a stream.
    pub spacing: Duration,
}

impl Watch {
    /// How long a trial may take.
    pub fn limit(&self) -> Duration {
        self.time + Duration::from_secs(300)
    }

    /// What the user is told when it begins.
    pub fn announcement(&self) -> String {
        let until = match &self.rollout {
            Some(rollout) => format!("until {rollout} is rolled out, at most "),
            None => String::new(),
        };
        format!("watching {until}{} s; Ctrl-C ends it before", self.time.as_secs())
    }

    /// Ends the watch that this is shared with when its time is over, the rollout complete, or a signal arrived.
    pub fn start(
        &self,
        shared: &RunShared,
        environment: Arc<dyn Environment>,
        clusters: &[ClusterName],
        interrupted: CancellationToken,
    ) {
        let watching = shared.of::<Watching>();
        watching.probe_every(self.spacing);
        let (time, rollout, clusters) = (self.time, self.rollout.clone(), clusters.to_vec());
        tokio::spawn(async move {
            let rolled_out = async {
                match &rollout {
                    Some(rollout) => rollout.complete(environment.as_ref(), &clusters).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = rolled_out => {}
                () = interrupted.cancelled() => {}
            }
            watching.end();
        });
    }
}
