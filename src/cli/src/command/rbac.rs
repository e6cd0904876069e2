//! `meshproof rbac`: the rights that runs need.

use crate::{
    cli_error::CliError,
    config::{Config, Flows},
};
use anyhow::anyhow;
use meshproof_cluster::rights;
use meshproof_contract::{Consent, Exit};
use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Prints the ClusterRole.
pub fn rbac(consent: Consent) -> Result<Exit, CliError> {
    print(&rights::manifest(consent))
}

/// Prints the Role that lets a run read the Helm release.
pub fn helm_release() -> Result<Exit, CliError> {
    print(&rights::helm_release_manifest())
}

/// Prints the Roles for the namespaces in which the clients of these flows run, cluster by cluster.
pub fn flows(files: &[PathBuf], config: Option<&Path>) -> Result<Exit, CliError> {
    let config = Config::read(config).map_err(CliError::usage)?;
    let flows = config.flows.and(Flows::read(files).map_err(CliError::usage)?);
    let visited = flows
        .iter()
        .filter_map(|flow| Some((&flow.from.cluster, flow.from.namespace.as_ref()?)));
    let visited: BTreeSet<_> = visited.collect();
    if visited.is_empty() {
        return Err(CliError::usage(anyhow!(
            "no flow names a namespace: give files with --flows, or flows in meshproof.yaml"
        )));
    }
    let documents = visited.into_iter().map(|(cluster, namespace)| {
        let role = rights::flows_manifest(namespace);
        format!("# In cluster {cluster}.\n{role}")
    });
    print(&documents.collect::<Vec<_>>().join("---\n"))
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
