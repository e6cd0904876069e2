//! Disruptions that are watched and undone, whatever was seen.

use super::{event::Event, workload::unknown};
use meshproof_contract::{CheckContext, ClusterName, Disruption, EnvironmentError, Verdict};

/// A disruption that is over.
pub struct Disrupted<T> {
    /// When it was injected.
    pub event: Event,
    /// What was watched meanwhile.
    pub watched: Result<T, Verdict>,
    /// Whether it was undone.
    pub restored: Result<(), Verdict>,
    /// When it was undone.
    pub restoring: Event,
}

/// Injects a disruption, watches, and undoes it. The error is the injection's; even then everything is undone.
pub async fn while_disrupted<T, F>(
    context: &CheckContext,
    cluster: &ClusterName,
    disruption: &Disruption,
    watch: impl FnOnce(Event) -> F,
) -> Result<Disrupted<T>, EnvironmentError>
where
    F: Future<Output = Result<T, Verdict>>,
{
    let environment = &context.environment;
    let event = Event::begin();
    let injected = environment.disrupt(cluster, disruption).await;
    let event = event.end();
    let watched = match injected {
        Ok(()) => Ok(watch(event).await),
        Err(error) => Err(error),
    };
    let restoring = Event::begin();
    let restored = environment.restore(cluster, disruption).await.map_err(unknown);
    let restoring = restoring.end();
    Ok(Disrupted {
        event,
        watched: watched?,
        restored,
        restoring,
    })
}
