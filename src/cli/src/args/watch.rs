//! `meshproof watch`

use super::{
    LAB_NODES, LabProfile,
    run::{Format, RunArgs, TargetArgs, pull_policies},
};
use crate::rollout::Rollout;
use clap::{Args, ValueHint, value_parser};
use meshproof_contract::PullPolicy;
use std::{path::PathBuf, time::Duration};

pub const EXAMPLES: &str = "\
Examples:
  meshproof watch --for 20m --infra-context infra --apps-context apps --image registry.example/meshproof:1
  meshproof watch --until-rollout daemonset/cilium --infra-context infra --apps-context apps \\
                  --image registry.example/meshproof:1     while an upgrade replaces the agents
  meshproof watch --lab --for 30s                          an example
  meshproof gate --baseline reports/BEFORE --current reports/latest   compares two watches";

/// `meshproof watch`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct WatchArgs {
    /// Watch only trials whose name contains one of these, such as `within` or `infra->apps`
    pub filters: Vec<String>,
    /// Match filters exactly
    #[arg(long)]
    pub exact: bool,

    /// Watch for so long, such as 30s, 20m or 24h; Ctrl-C ends it before [default: 24h]
    #[arg(long = "for", id = "for", value_name = "TIME", value_parser = super::duration)]
    pub time: Option<Duration>,
    /// End 10 s after the rollout of this workload of kube-system is complete in all clusters: daemonset/cilium,
    /// deployment/cilium-operator. It must begin after the watch
    #[arg(long, value_name = "KIND/NAME", value_parser = Rollout::parse)]
    pub until_rollout: Option<Rollout>,
    /// Time between two probes of a stream, from 10ms [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = spacing)]
    pub spacing: Option<Duration>,

    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Watch two emulated clusters on this machine (Linux only)
    #[arg(long, conflicts_with_all = ["infra_context", "apps_context", "context"], help_heading = "Clusters")]
    pub lab: bool,
    /// Nodes per cluster of the lab
    #[arg(long, value_name = "N", default_value_t = LAB_NODES, value_parser = value_parser!(u8).range(1..=80),
          requires = "lab", help_heading = "Clusters")]
    pub lab_nodes: u8,
    /// Configuration of Cilium in the lab
    #[arg(
        long,
        value_enum,
        value_name = "PROFILE",
        default_value_t,
        requires = "lab",
        help_heading = "Clusters"
    )]
    pub lab_profile: LabProfile,
    /// Inject this fault into the lab (repeatable); `meshproof prove --list` lists the faults
    #[arg(long, value_name = "FAULT", requires = "lab", help_heading = "Clusters")]
    pub lab_fault: Vec<String>,

    /// Probe image that the clusters' nodes have
    #[arg(long, value_name = "REF", help_heading = "Probes")]
    pub image: Option<String>,
    /// When nodes pull the probe image
    #[arg(long, value_name = "POLICY", value_parser = pull_policies(), help_heading = "Probes")]
    pub pull_policy: Option<PullPolicy>,
    /// Docker configuration file with credentials for the probe image; a run makes a Secret of it for its pods
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "lab", help_heading = "Probes")]
    pub image_pull_secret: Option<PathBuf>,

    /// Folder for the reports [default: reports]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub report_dir: Option<PathBuf>,
    /// What to print on stdout
    #[arg(long, value_enum, default_value_t = Format::Human, help_heading = "Output")]
    pub format: Format,
}

fn spacing(text: &str) -> Result<Duration, String> {
    let spacing = super::duration(text)?;
    if spacing < Duration::from_millis(10) {
        return Err("expected 10ms or more".to_owned());
    }
    Ok(spacing)
}

impl From<WatchArgs> for RunArgs {
    /// The run that a watch is.
    fn from(args: WatchArgs) -> Self {
        Self {
            filters: args.filters,
            exact: args.exact,
            target: args.target,
            lab: args.lab,
            lab_nodes: args.lab_nodes,
            lab_profile: args.lab_profile,
            lab_fault: args.lab_fault,
            lab_fault_seed: 0,
            image: args.image,
            pull_policy: args.pull_policy,
            image_pull_secret: args.image_pull_secret,
            report_dir: args.report_dir,
            format: args.format,
            gitops: None,
            values: Vec::new(),
            flows: Vec::new(),
            suite: Vec::new(),
            skip: Vec::new(),
            list: false,
            jobs: None,
            timeout: None,
            disruptive: false,
            mesh_outage: None,
            generate: None,
            seed: None,
            sample_seed: None,
            fail_fast: false,
            report_configmap: None,
            push_metrics: None,
        }
    }
}
