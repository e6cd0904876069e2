//! Where there is no Linux there is no lab: the command says so, and does everything else.

use crate::{
    fatal::Fatal,
    session::{fault::FaultEntry, place::Place},
};
use std::{convert::Infallible, process::ExitCode};

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
#[error(
    "the lab needs Linux (network namespaces); run meshproof there, in a virtual machine, or against real clusters"
)]
pub struct NeedsLinux;

/// No process here is a part of a lab.
pub fn hidden_role() -> Option<ExitCode> {
    None
}

/// A lab, of which there is none.
pub struct Lab(Infallible);

impl Lab {
    /// Fails.
    pub async fn start(_faults: &[String]) -> Result<Self, Fatal> {
        Err(Fatal::environment(NeedsLinux))
    }
    /// Of none.
    pub fn place(&self) -> Place {
        match self.0 {}
    }
    /// None.
    pub fn faults() -> Vec<FaultEntry> {
        Vec::new()
    }
    /// Of none.
    pub async fn inject(&self, _fault: &str) -> Result<(), Fatal> {
        match self.0 {}
    }
    /// Of none.
    pub async fn heal(&self, _fault: &str) -> Result<(), Fatal> {
        match self.0 {}
    }
    /// Of none.
    pub async fn stop(self) {
        match self.0 {}
    }
}

/// Whether the error is that this machine cannot have a lab.
pub fn is_forbidden(fatal: &Fatal) -> bool {
    fatal.error.is::<NeedsLinux>()
}
