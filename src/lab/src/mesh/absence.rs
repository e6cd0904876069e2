//! Since when clusters have no clustermesh-apiserver, for the faults that make others forget them.

use crate::{
    fault::{ActiveFaults, Fault},
    service::RemoteBackend,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// How long a clustermesh-apiserver is down before the fault `mesh-apiserver-outage-drops-backends` acts.
const OUTAGE: Duration = Duration::from_secs(10);

/// For how long backends of a cluster without clustermesh-apiserver are kept; none: for ever.
pub(super) fn patience(faults: &ActiveFaults) -> Option<Duration> {
    if faults.is_active(Fault::MeshApiserverDownDropsBackends) {
        Some(Duration::ZERO)
    } else {
        faults
            .is_active(Fault::MeshApiserverOutageDropsBackends)
            .then_some(OUTAGE)
    }
}

/// Since when each cluster that has backends is without one.
#[derive(Default)]
pub(super) struct Absence(BTreeMap<String, Instant>);

impl Absence {
    /// Takes in which clusters of these backends have one.
    pub(super) fn observe<'b>(
        &mut self,
        backends: impl Iterator<Item = &'b RemoteBackend>,
        is_there: impl Fn(&str) -> bool,
    ) {
        let mut absent = BTreeMap::new();
        for backend in backends.filter(|backend| !is_there(&backend.cluster)) {
            let since = self.0.get(&backend.cluster).copied().unwrap_or_else(Instant::now);
            absent.insert(backend.cluster.clone(), since);
        }
        self.0 = absent;
    }

    /// Whether a cluster has been without one for so long.
    pub(super) fn is_over(&self, cluster: &str, patience: Duration) -> bool {
        self.0.get(cluster).is_some_and(|since| since.elapsed() >= patience)
    }

    /// Returns when the next cluster will have been without one for so long.
    pub(super) async fn ends(&self, patience: Option<Duration>) {
        let ends = patience.and_then(|patience| {
            let ends = self.0.values().map(|since| *since + patience);
            ends.filter(|end| *end > Instant::now()).min()
        });
        match ends {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }
}
