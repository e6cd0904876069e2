//! The operators' repository of a run: read before anything is touched.

use crate::{args::RunArgs, cli_error::CliError, config::Config, session::consumer::Events};
use anyhow::anyhow;
use meshproof_claims::{Installation, Repository, Request};
use meshproof_contract::{ClusterName, GitFacts};

/// What the operators' files say.
#[derive(Default)]
pub struct Files {
    /// What they state of the clusters; none where nothing is given.
    pub facts: Option<GitFacts>,
    /// What a lab is installed with.
    pub installations: Vec<Installation>,
}

/// What `--gitops`, `--values` and `values` of meshproof.yaml say.
pub fn read(args: &RunArgs, config: &Config, clusters: &[ClusterName]) -> Result<Files, CliError> {
    let mut values = args.values.clone();
    for (role, _) in &values {
        if !clusters.iter().any(|cluster| cluster.as_str() == role) {
            let known: Vec<_> = clusters.iter().map(ClusterName::as_str).collect();
            let error = anyhow!("--values names cluster '{role}'; this run has {}", known.join(" and "));
            return Err(CliError::usage(error));
        }
    }
    for (role, file) in config.claims.files_of_values() {
        // The command line replaces what the file says of a cluster.
        if !args.values.iter().any(|(named, _)| *named == role) {
            values.push((role, file));
        }
    }
    if args.gitops.is_none() && values.is_empty() {
        return Ok(Files::default());
    }
    let request = Request {
        root: args.gitops.clone().unwrap_or_else(|| ".".into()),
        values,
    };
    let repository = Repository::read(request, args.gitops.is_some()).map_err(CliError::usage)?;
    let installations = if args.lab {
        let mut all = repository.installations();
        // A repository may describe more clusters than a run has.
        all.retain(|one| clusters.iter().any(|cluster| cluster.as_str() == one.cluster));
        all
    } else {
        Vec::new()
    };
    Ok(Files {
        facts: Some(repository.stated()),
        installations,
    })
}

/// Names clusters of the run of which the repository states nothing.
pub fn warn_of_missing(git: &GitFacts, clusters: &[ClusterName], events: &Events) {
    let missing = clusters.iter().filter(|cluster| git.of(cluster).next().is_none());
    let missing: Vec<_> = missing.map(ClusterName::as_str).collect();
    if !missing.is_empty() {
        events.warning(format!(
            "{} states no values of Cilium for {}: name the files with --values ROLE=FILE",
            git.from,
            missing.join(" and ")
        ));
    }
}
