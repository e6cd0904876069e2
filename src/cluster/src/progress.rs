//! Where this crate says what it is doing: into the run's stream of events. It knows neither terminal nor log.

use meshproof_contract::Event;
use std::sync::Arc;

/// Takes [`Event::Waiting`] and [`Event::Warning`]; cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Event) + Send + Sync>);

impl Progress {
    /// Events go to `sink`, which must not block.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }
    /// Events go nowhere.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }
    /// What is being waited for now.
    pub fn waiting(&self, what: impl Into<String>) {
        (self.0)(Event::Waiting { what: what.into() });
    }
    /// Something that people should know.
    pub fn warning(&self, message: impl Into<String>) {
        (self.0)(Event::Warning {
            message: message.into(),
        });
    }
}
