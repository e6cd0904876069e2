//! The one runtime of a command.

use crate::cli_error::CliError;
use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// The runtime, with the cryptography of TLS installed.
pub fn runtime() -> Result<Runtime, CliError> {
    // Fails only when it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the async runtime")
        .map_err(CliError::environment)
}
