//! Where this crate reports its progress: into the run's stream of events. Knows neither terminal nor log.

use meshproof_contract::{ClusterChange, ClusterName, Event};
use std::sync::Arc;

/// Takes [`Event::Waiting`] and [`Event::Warning`]; cheap to clone.
#[derive(Clone)]
pub struct ProgressSink(Arc<dyn Fn(Event) + Send + Sync>);

impl ProgressSink {
    /// Events go to `sink`, which must not block.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }
    /// Events go nowhere.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }
    /// What the run waits for now; a noun phrase, to follow "waiting for".
    pub fn waiting(&self, what: impl Into<String>) {
        (self.0)(Event::Waiting { what: what.into() });
    }
    /// A cluster changed.
    pub fn changed(&self, cluster: &ClusterName, change: ClusterChange) {
        (self.0)(Event::ClusterChanged {
            cluster: cluster.clone(),
            change,
        });
    }
    /// A warning for people.
    pub fn warning(&self, message: impl Into<String>) {
        (self.0)(Event::Warning {
            message: message.into(),
        });
    }
}
