//! `meshproof claims`.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  meshproof claims check --gitops .
  meshproof claims check --gitops . --values infra=infra/cilium.yaml --values apps=apps/cilium.yaml
  meshproof claims check --gitops . --format github

Exit codes: 0 nothing or warnings only; 1 an error was found; 2 usage, or the files cannot be read.";

/// What to do with claims.
#[derive(Debug, Subcommand)]
pub enum ClaimsCommand {
    /// Find what cannot be meant in Helm values, releases, policies and Services, before anything is installed
    #[command(after_long_help = EXAMPLES)]
    Check(ClaimsCheckArgs),
}

/// `meshproof claims check`
#[derive(Debug, Args)]
pub struct ClaimsCheckArgs {
    /// Folder of the repository
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub gitops: PathBuf,
    /// File of Cilium's Helm values of a cluster; repeat it for several, of which later ones win [default: found by
    /// helmfile, Flux, Argo CD, or path]
    #[arg(long, value_name = "ROLE=FILE", value_parser = role_and_file)]
    pub values: Vec<(String, PathBuf)>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: ClaimsFormat,
    /// Settings file; its `claims:` can name the files of values [default: ./meshproof.yaml if it exists]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// The form in which the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ClaimsFormat {
    /// Lines for people
    #[default]
    Text,
    /// Everything as JSON
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

pub(super) fn role_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (role, file) = text
        .split_once('=')
        .ok_or("expected ROLE=FILE, such as infra=cilium-values.yaml")?;
    if role.is_empty() || file.is_empty() {
        return Err("expected ROLE=FILE, such as infra=cilium-values.yaml".to_owned());
    }
    Ok((role.to_owned(), file.into()))
}
