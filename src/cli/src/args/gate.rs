//! `meshproof gate`.

use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

pub const EXAMPLES: &str = "\
Examples:
  meshproof gate --baseline reports/20261201-020000-1a2b --current reports/latest
  meshproof gate --baseline reports --current reports/latest      with all earlier runs
  meshproof gate --baseline ci/baseline.json --current reports/latest --format markdown
  git show main:ci/baseline.json | meshproof gate --baseline /dev/stdin --current reports/latest

Exit codes: 0 GO; 1 NO-GO; 2 usage, or a run cannot be read; 3 CANNOT TELL.";

/// `meshproof gate`
#[derive(Debug, Args)]
pub struct GateArgs {
    /// Earlier run: its folder, its report.json wherever that is, or a folder of several runs
    #[arg(long, value_name = "RUN", value_hint = ValueHint::AnyPath)]
    pub baseline: PathBuf,
    /// The run to judge: its folder or its report.json
    #[arg(long, value_name = "RUN", value_hint = ValueHint::AnyPath)]
    pub current: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    pub format: GateFormat,
}

/// The form in which the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GateFormat {
    /// Lines for people
    #[default]
    Text,
    /// A page for a step summary or a comment
    Markdown,
    /// Everything as JSON (reports/gate.schema.json)
    Json,
}
