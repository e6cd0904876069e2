//! Captures in the test world. What they see is up to the suite that has a wire to capture on.

use meshproof_contract::{AgentId, CaptureId, CaptureReport, CaptureSpec, EnvironmentError};
use std::sync::{Arc, Mutex};

/// A network on which agents can capture.
pub trait Captures: Send + Sync {
    /// How many packets there have been: what a capture that starts now does not see.
    fn packets(&self) -> usize;
    /// What an agent's capture has seen after so many packets, by the time it is stopped.
    fn report(&self, agent: &AgentId, spec: &CaptureSpec, after: usize) -> CaptureReport;
}

/// The captures that run; none can without a network.
#[derive(Clone, Default)]
pub struct Running {
    network: Option<Arc<dyn Captures>>,
    /// What they look for, and how many packets there had been.
    specs: Arc<Mutex<Vec<(CaptureSpec, usize)>>>,
}

impl Running {
    pub fn on(network: Arc<dyn Captures>) -> Self {
        Self {
            network: Some(network),
            specs: Arc::default(),
        }
    }
    pub fn start(&self, spec: CaptureSpec) -> Result<CaptureId, EnvironmentError> {
        let network = self.network("start a capture")?;
        let mut specs = self.specs.lock().expect("no panic while starting");
        specs.push((spec, network.packets()));
        Ok(CaptureId(specs.len() as u64 - 1))
    }
    pub fn stop(&self, agent: &AgentId, capture: CaptureId) -> Result<CaptureReport, EnvironmentError> {
        let network = self.network("stop a capture")?;
        let specs = self.specs.lock().expect("no panic while stopping");
        let (spec, after) = &specs[capture.0 as usize];
        Ok(network.report(agent, spec, *after))
    }
    fn network(&self, operation: &'static str) -> Result<&Arc<dyn Captures>, EnvironmentError> {
        self.network.as_ref().ok_or(EnvironmentError::Unsupported { operation })
    }
}
