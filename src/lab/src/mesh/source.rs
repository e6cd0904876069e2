//! Restarts of what a cluster's agents learn of other clusters by, for the faults that make these interrupt them: the
//! clustermesh-apiserver pod that they read from, and Cilium's operator.

use crate::{
    fault::{ActiveFaults, Fault},
    state::ClusterState,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// For how long these faults act after each restart.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// How often Cilium's operator has started in a cluster.
#[derive(Debug, Default)]
pub(crate) struct OperatorStarts(watch::Sender<u64>);

impl OperatorStarts {
    /// Those of this cluster.
    pub(crate) fn of(cluster: &ClusterState) -> Arc<Self> {
        cluster.extension()
    }

    /// It starts.
    pub(crate) fn count(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Sees every start.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Which pod agents read from, and until when restarts matter.
#[derive(Default)]
pub(super) struct Source {
    pod: Option<String>,
    changed: Option<Instant>,
    operator: u64,
    led: Option<Instant>,
}

impl Source {
    /// Takes in which pod it is now, none where there is none, and how often the operator has started. The first ones
    /// change nothing.
    pub(super) fn observe(&mut self, pod: Option<&str>, operator: u64) {
        if let Some(pod) = pod {
            if self.pod.as_deref().is_some_and(|known| known != pod) {
                self.changed = Some(Instant::now());
            }
            self.pod = Some(pod.to_owned());
        }
        if self.operator > 0 && operator > self.operator {
            self.led = Some(Instant::now());
        }
        self.operator = operator;
    }

    /// Whether agents have forgotten what they knew.
    pub(super) fn is_forgotten(&self, faults: &ActiveFaults) -> bool {
        let acts = |fault, since: Option<Instant>| {
            faults.is_active(fault) && since.is_some_and(|since| since.elapsed() < FORGOTTEN)
        };
        acts(Fault::KvstoremeshRestartDropsBackends, self.changed)
            || acts(Fault::OperatorRestartDropsBackends, self.led)
    }

    /// Returns once the next of these restarts matters no more.
    pub(super) async fn settles(&self) {
        let ends = [self.changed, self.led]
            .into_iter()
            .flatten()
            .map(|since| since + FORGOTTEN);
        match ends.filter(|end| *end > Instant::now()).min() {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultState;

    #[tokio::test(start_paused = true)]
    async fn a_restart_interrupts_for_a_moment_and_the_first_start_does_not() {
        let with = |fault| {
            let faults = ActiveFaults::default();
            faults.set(fault, FaultState::InForce);
            faults
        };
        let (mesh, operator) = (
            with(Fault::KvstoremeshRestartDropsBackends),
            with(Fault::OperatorRestartDropsBackends),
        );
        let mut source = Source::default();
        source.observe(Some("a"), 1);
        source.observe(None, 1);
        source.observe(Some("a"), 1);
        assert!(!source.is_forgotten(&mesh) && !source.is_forgotten(&operator));
        source.observe(Some("b"), 1);
        assert!(source.is_forgotten(&mesh) && !source.is_forgotten(&operator));
        source.settles().await;
        assert!(!source.is_forgotten(&mesh));
        source.observe(Some("b"), 2);
        assert!(source.is_forgotten(&operator) && !source.is_forgotten(&mesh));
    }
}
