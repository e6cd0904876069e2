//! `meshproof doctor`.

use super::TargetArgs;
use clap::Args;
use meshproof_contract::PullPolicy;

pub const EXAMPLES: &str = "\
Examples:
  meshproof doctor --infra-context infra --apps-context apps --image registry.example/meshproof:1
  meshproof doctor                                  with the contexts and image of meshproof.yaml

Exit codes: 0 a run can start; 2 something must be done first.";

/// `meshproof doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Probe image that the clusters' nodes have
    #[arg(long, value_name = "REF", help_heading = "Probes")]
    pub image: Option<String>,
    /// When nodes pull the probe image
    #[arg(long, value_name = "POLICY", value_parser = super::run::pull_policies(), help_heading = "Probes")]
    pub pull_policy: Option<PullPolicy>,
    /// Also look for the rights that runs with --disruptive need
    #[arg(long)]
    pub disruptive: bool,
}
