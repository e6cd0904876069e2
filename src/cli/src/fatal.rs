//! Errors that end the command, with the exit code that they mean.

use meshproof_contract::Exit;
use std::fmt;

/// An error that ends the command.
#[derive(Debug)]
pub struct Fatal {
    /// The exit code.
    pub exit: Exit,
    /// The cause and the next step.
    pub error: anyhow::Error,
}

impl Fatal {
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
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}
