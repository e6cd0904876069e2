//! `meshproof rbac`: the rights that runs need.

use crate::cli_error::CliError;
use meshproof_cluster::rights;
use meshproof_contract::{Consent, Exit};
use std::io::{self, Write as _};

/// Prints the ClusterRole.
pub fn rbac(consent: Consent) -> Result<Exit, CliError> {
    print(&rights::manifest(consent))
}

/// Prints the Role that lets a run read the Helm release.
pub fn helm_release() -> Result<Exit, CliError> {
    print(&rights::helm_release_manifest())
}

fn print(manifest: &str) -> Result<Exit, CliError> {
    match io::stdout().write_all(manifest.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::environment(error)),
        _ => Ok(Exit::Passed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_the_role_that_is_tested() {
        let read = |consent| -> serde_json::Value { serde_saphyr::from_str(&rights::manifest(consent)).expect("YAML") };
        assert_eq!(read(Consent::Withheld), rights::cluster_role());
        assert_eq!(read(Consent::Given), rights::disruptive_cluster_role());
        let role: serde_json::Value = serde_saphyr::from_str(&rights::helm_release_manifest()).expect("YAML");
        assert_eq!(role, rights::helm_release_role());
    }
}
