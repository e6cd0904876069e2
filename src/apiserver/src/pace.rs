//! How fast a server answers. Knows nothing of what it answers.

use std::{sync::Arc, time::Duration};

/// How long a server thinks before it answers, asked for each request.
#[derive(Clone)]
pub struct Pace(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Pace {
    /// As this says at the time of a request.
    pub fn new(delay: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(delay))
    }

    pub(crate) async fn keep(&self) {
        let delay = (self.0)();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(|| Duration::ZERO)
    }
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pace").field(&(self.0)()).finish()
    }
}
