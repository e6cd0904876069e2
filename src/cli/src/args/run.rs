//! `meshproof run` and the arguments that name clusters.

use super::{LAB_NODES, LabProfile};
use clap::{
    Args, ValueEnum, ValueHint,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
    value_parser,
};
use meshproof_contract::PullPolicy;
use std::{path::PathBuf, time::Duration};

pub const EXAMPLES: &str = "\
Examples:
  meshproof run --lab                                       all checks on two emulated clusters
  meshproof run --infra-context infra --apps-context apps \\
                --image registry.example/meshproof:1        on real clusters that have the image
  meshproof run --lab --suite dns                           one suite
  meshproof run --lab connectivity::path_mtu --skip apps    filter and skip trials by name
  meshproof run --lab --list                                list the trials without running them
  meshproof run --lab --lab-fault udp-dropped               an example of a failing run
  meshproof prove --list                                    list the faults for --lab-fault";

/// `meshproof run`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// Run only trials whose name contains one of these
    pub filters: Vec<String>,

    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Run on two emulated clusters on this machine (Linux only)
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
    /// Seed of the places where faults act; 0: the first nodes and clusters
    #[arg(
        long,
        value_name = "S",
        default_value_t,
        requires = "lab_fault",
        help_heading = "Clusters"
    )]
    pub lab_fault_seed: u64,

    /// Folder of the repository that says what should run: its Helm values and pins are compared with what is
    /// installed and runs (suite gitops). A lab is installed with them
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Claims")]
    pub gitops: Option<PathBuf>,
    /// File of Cilium's Helm values of a cluster; repeat it for several, of which later ones win [default: found in
    /// --gitops by helmfile, Flux, Argo CD, or path]
    #[arg(long, value_name = "ROLE=FILE", value_parser = super::claims::role_and_file, help_heading = "Claims")]
    pub values: Vec<(String, PathBuf)>,

    /// File of flows that must be possible, or must not (repeatable; suite flows): docs/flows.md has examples
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Claims")]
    pub flows: Vec<PathBuf>,

    /// Run only this suite (repeatable)
    #[arg(long, value_name = "SUITE", help_heading = "Selection")]
    pub suite: Vec<String>,
    /// Skip trials whose name contains FILTER (repeatable)
    #[arg(long, value_name = "FILTER", help_heading = "Selection")]
    pub skip: Vec<String>,
    /// Match filters exactly, as trial names or check ids
    #[arg(long, help_heading = "Selection")]
    pub exact: bool,
    /// List the trials and exit
    #[arg(long, help_heading = "Selection")]
    pub list: bool,

    /// Probe image that the clusters' nodes have
    #[arg(long, value_name = "REF", help_heading = "Probes")]
    pub image: Option<String>,
    /// When nodes pull the probe image
    #[arg(long, value_name = "POLICY", value_parser = pull_policies(), help_heading = "Probes")]
    pub pull_policy: Option<PullPolicy>,
    /// Docker configuration file with credentials for the probe image; a run makes a Secret of it for its pods
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "lab", help_heading = "Probes")]
    pub image_pull_secret: Option<PathBuf>,

    /// Maximum number of concurrent trials [default: 8]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..), help_heading = "Running")]
    pub jobs: Option<u16>,
    /// Time limit of one trial, such as 90s or 5m [default: 180s; 420s for trials that run alone]
    #[arg(long, value_name = "TIME", value_parser = super::duration, help_heading = "Running")]
    pub timeout: Option<Duration>,
    /// Allow checks to disrupt the clusters: delete probe pods, take nodes away, restart Cilium agents, scale
    /// clustermesh-apiserver to zero (always on with --lab)
    #[arg(long, help_heading = "Running")]
    pub disruptive: bool,
    /// Also keep clustermesh-apiserver down for TIME, such as 3m, which outlasts leases and heartbeats [default: not]
    #[arg(long, value_name = "TIME", value_parser = mesh_outage, help_heading = "Running")]
    pub mesh_outage: Option<Duration>,
    /// Number of random policies for policy::generated [default: 3]
    #[arg(long, value_name = "N", help_heading = "Running")]
    pub generate: Option<u32>,
    /// Seed of the random policies [default: the day of the run]
    #[arg(long, value_name = "S", help_heading = "Running")]
    pub seed: Option<u64>,
    /// Seed of the pairs of nodes that are observed where a cluster has over 16 nodes [default: the day of the run]
    #[arg(long, value_name = "S", help_heading = "Running")]
    pub sample_seed: Option<u64>,
    /// Start no further trials after the first failure
    #[arg(long, help_heading = "Running")]
    pub fail_fast: bool,

    /// Folder for the reports [default: reports]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub report_dir: Option<PathBuf>,
    /// Also keep the reports in this ConfigMap of the first cluster, compressed and as many as fit into 1 MiB
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespace_and_name, conflicts_with = "lab",
          help_heading = "Output")]
    pub report_configmap: Option<(String, String)>,
    /// Also push the metrics to the Prometheus Pushgateway at this URL
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, help_heading = "Output")]
    pub push_metrics: Option<String>,
    /// What to print on stdout
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
    /// Role and kubeconfig context of another cluster (repeatable)
    #[arg(long, value_name = "ROLE=CONTEXT", value_parser = role_and_context)]
    pub context: Vec<(String, String)>,
    /// Configuration file [default: ./meshproof.yaml if it exists]
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

fn namespace_and_name(text: &str) -> Result<(String, String), String> {
    let (namespace, name) = text
        .split_once('/')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
        .ok_or("expected NAMESPACE/NAME, such as meshproof-runner/meshproof-report")?;
    Ok((namespace.to_owned(), name.to_owned()))
}

fn mesh_outage(text: &str) -> Result<Duration, String> {
    crate::mesh_outage::verify(super::duration(text)?)
}

fn role_and_context(text: &str) -> Result<(String, String), String> {
    let (role, context) = text
        .split_once('=')
        .ok_or("expected ROLE=CONTEXT, such as edge=edge-admin")?;
    let valid = !role.is_empty()
        && role
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !role.starts_with('-');
    if !valid || context.is_empty() {
        return Err(
            "expected ROLE=CONTEXT: a role has lower-case letters, digits and '-' only, and the context is not empty"
                .to_owned(),
        );
    }
    Ok((role.to_owned(), context.to_owned()))
}

/// What to print on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Results by suite, failures first
    Human,
    /// Events, one JSON object per line
    Json,
    /// Only failures and the overall verdict
    Quiet,
}

/// Kubernetes' words, with what they mean.
pub(super) fn pull_policies() -> impl TypedValueParser<Value = PullPolicy> {
    let values = PullPolicy::ALL.map(|policy| PossibleValue::new(policy.as_str()).help(policy.about()));
    PossibleValuesParser::new(values).try_map(|text| text.parse::<PullPolicy>())
}
