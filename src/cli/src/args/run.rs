//! `meshproof run` and the arguments that name clusters.

use clap::{Args, ValueEnum, ValueHint};
use meshproof_lab::NODES;
use std::{path::PathBuf, time::Duration};

pub const EXAMPLES: &str = "\
Examples:
  meshproof run --lab                                       everything, on two emulated clusters
  meshproof run --infra-context infra --apps-context apps \\
                --image registry.example/meshproof:1        on real clusters whose nodes have the image
  meshproof run --lab --suite dns                           one suite
  meshproof run --lab 'connectivity::mtu' --skip apps       trials whose name contains the one and not the other
  meshproof run --lab --list                                the names, without running
  meshproof run --lab --lab-fault udp-dropped               see what red looks like";

/// `meshproof run`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// Only trials whose name contains one of these
    pub filters: Vec<String>,

    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Run on two emulated clusters on this machine (Linux)
    #[arg(long, conflicts_with_all = ["infra_context", "apps_context", "context"], help_heading = "Clusters")]
    pub lab: bool,
    /// Nodes of each of the lab's clusters
    #[arg(long, value_name = "N", default_value_t = NODES, value_parser = clap::value_parser!(u8).range(1..=80),
          requires = "lab", help_heading = "Clusters")]
    pub lab_nodes: u8,
    /// Start the lab with this fault injected (repeatable); `meshproof prove --list` names them
    #[arg(long, value_name = "FAULT", requires = "lab", help_heading = "Clusters")]
    pub lab_fault: Vec<String>,

    /// Only this suite (repeatable)
    #[arg(long, value_name = "SUITE", help_heading = "Selection")]
    pub suite: Vec<String>,
    /// Not the trials whose name contains this (repeatable)
    #[arg(long, value_name = "FILTER", help_heading = "Selection")]
    pub skip: Vec<String>,
    /// Filters are whole names, not parts
    #[arg(long, help_heading = "Selection")]
    pub exact: bool,
    /// List the trials and stop
    #[arg(long, help_heading = "Selection")]
    pub list: bool,

    /// The probe image that the clusters' nodes have
    #[arg(long, value_name = "REF", help_heading = "Probes")]
    pub image: Option<String>,
    /// When the nodes pull it
    #[arg(long, value_name = "POLICY", help_heading = "Probes")]
    pub pull_policy: Option<PullPolicy>,

    /// Trials at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Running")]
    pub jobs: Option<u16>,
    /// Longest time of one trial (default: 180s, 420s for one that runs alone)
    #[arg(long, value_name = "TIME", value_parser = super::duration, help_heading = "Running")]
    pub timeout: Option<Duration>,
    /// Let checks disturb the clusters: delete probe pods, lose a node, restart Cilium agents, stop the
    /// clustermesh-apiserver for a moment (always on with --lab)
    #[arg(long, help_heading = "Running")]
    pub disruptive: bool,
    /// Draw so many policies at random for policy::generated
    #[arg(long, value_name = "N", help_heading = "Running")]
    pub generate: Option<u32>,
    /// Draw them from this seed: the same seed draws the same policies
    #[arg(long, value_name = "S", help_heading = "Running")]
    pub seed: Option<u64>,
    /// Start nothing more after the first failure
    #[arg(long, help_heading = "Running")]
    pub fail_fast: bool,

    /// Folder for the reports
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub report_dir: Option<PathBuf>,
    /// What is printed on stdout
    #[arg(long, value_enum, default_value_t = Format::Human, help_heading = "Output")]
    pub format: Format,
}

/// Which clusters.
#[derive(Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Clusters")]
pub struct TargetArgs {
    /// kubeconfig context of the infra cluster
    #[arg(long, value_name = "CONTEXT")]
    pub infra_context: Option<String>,
    /// kubeconfig context of the apps cluster
    #[arg(long, value_name = "CONTEXT")]
    pub apps_context: Option<String>,
    /// Any other cluster, as ROLE=CONTEXT (repeatable)
    #[arg(long, value_name = "ROLE=CONTEXT", value_parser = role_and_context)]
    pub context: Vec<(String, String)>,
    /// Configuration; ./meshproof.yaml is read if it is there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Configuration")]
    pub config: Option<PathBuf>,
}

impl TargetArgs {
    /// Roles with their contexts in the order given: infra, apps, others.
    pub fn contexts(&self) -> Vec<(String, String)> {
        let named = [("infra", &self.infra_context), ("apps", &self.apps_context)];
        let mut contexts: Vec<_> = named
            .into_iter()
            .filter_map(|(role, context)| Some((role.to_owned(), context.clone()?)))
            .collect();
        contexts.extend(self.context.iter().cloned());
        contexts
    }
}

fn role_and_context(text: &str) -> Result<(String, String), String> {
    let (role, context) = text
        .split_once('=')
        .ok_or("write ROLE=CONTEXT, such as edge=edge-admin")?;
    let valid = !role.is_empty()
        && role
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !role.starts_with('-');
    if !valid || context.is_empty() {
        return Err(format!(
            "'{text}': a role is lower-case letters, digits and '-', and the context is not empty"
        ));
    }
    Ok((role.to_owned(), context.to_owned()))
}

/// What is printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A short result by suite, failures first
    Human,
    /// The events, one JSON object a line
    Json,
    /// Failures and the verdict only
    Quiet,
}

/// Kubernetes' image pull policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, schemars::JsonSchema)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// Pull before every start
    Always,
    /// Pull only what the node lacks
    IfNotPresent,
    /// Never pull: the node has it
    Never,
}
