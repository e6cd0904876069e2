//! Errors that end the command, with the exit code that they mean.

use anyhow::anyhow;
use meshproof_cluster::ContextError;
use meshproof_contract::Exit;
use std::fmt;

/// An error that ends the command.
#[derive(Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// The cause and the next step.
    pub error: anyhow::Error,
}

impl CliError {
    /// Usage or configuration is wrong.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
        }
    }

    /// The environment does not allow it.
    pub fn environment(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::CouldNotTell,
            error: error.into(),
        }
    }

    /// A signal ended it.
    pub fn interrupted() -> Self {
        Self {
            exit: Exit::Interrupted,
            error: anyhow!("interrupted"),
        }
    }
}

impl From<ContextError> for CliError {
    /// Contexts that do not exist are the user's error, clusters that do not answer are not.
    fn from(error: ContextError) -> Self {
        if error.is_configuration() {
            Self::usage(error)
        } else {
            Self::environment(error)
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}
