//! How long a silent node counts as alive, for the controller that judges it and the kubelets that renew their Leases.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a silent node counts as alive (`--node-monitor-grace-period`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeGrace(pub Duration);

impl Default for NodeGrace {
    fn default() -> Self {
        Self(Duration::from_secs(40))
    }
}
