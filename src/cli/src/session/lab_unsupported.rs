//! In place of `lab` where there is none: off Linux, and in a build without the feature `lab`. The command says so and
//! does everything else.

use crate::{
    args::LabProfile,
    cli_error::CliError,
    session::{fault::FaultSpec, lab_shape::LabShape, target::Target},
};
use std::{convert::Infallible, process::ExitCode};

/// Without a lab, nobody writes flows for it.
pub fn flows(_: Option<bool>) -> String {
    "flows: []\n".to_owned()
}

/// Nothing is encrypted in no lab.
pub fn encrypts(_: LabProfile) -> bool {
    false
}

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
#[error(
    "this build of meshproof has no lab: it needs Linux and the cargo feature `lab` (on by default); use such a \
     build, in a virtual machine if need be, or name clusters with --infra-context and --apps-context"
)]
pub struct LabUnsupported;

/// No process of this build is a part of a lab.
pub fn hidden_role() -> Option<ExitCode> {
    None
}

/// A lab; no value of it exists.
pub struct Lab(Infallible);

impl Lab {
    /// Fails.
    pub async fn start(_shape: LabShape, _faults: &[String]) -> Result<Self, CliError> {
        Err(CliError::environment(LabUnsupported))
    }
    /// Fails.
    pub async fn start_installed(
        _shape: LabShape,
        _installations: Vec<meshproof_claims::Installation>,
        _tell: impl FnMut(String),
        _faults: &[String],
    ) -> Result<Self, CliError> {
        Err(CliError::environment(LabUnsupported))
    }
    /// Never called: there is no lab.
    pub fn target(&self) -> Target {
        match self.0 {}
    }
    /// Fails: only the lab knows its faults.
    pub fn faults() -> Result<Vec<FaultSpec>, CliError> {
        Err(CliError::environment(LabUnsupported))
    }
    /// Never called: there is no lab.
    pub async fn inject(&self, _fault: &str) -> Result<(), CliError> {
        match self.0 {}
    }
    /// Never called: there is no lab.
    pub async fn heal(&self, _fault: &str) -> Result<(), CliError> {
        match self.0 {}
    }
    /// Never called: there is no lab.
    pub async fn stop(self) {
        match self.0 {}
    }
}

/// Whether the error is that this machine or build cannot have a lab.
pub fn is_forbidden(error: &CliError) -> bool {
    error.error.is::<LabUnsupported>()
}
