//! `meshproof lab` and `meshproof prove`.

use clap::{Args, Subcommand, ValueEnum, ValueHint, value_parser};
use std::{fmt, num::NonZeroU8, path::PathBuf};

/// Default number of nodes in each cluster of a lab.
pub const LAB_NODES: u8 = 3;

/// How Cilium is configured in the clusters of a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LabProfile {
    /// VXLAN, WireGuard, kube-proxy replacement
    #[default]
    Tunnel,
    /// Native routing, WireGuard for pods and nodes, strict mode, Maglev, no Envoy
    Native,
    /// `native` with direct answers of NodePorts (DSR)
    NativeDsr,
    /// VXLAN without encryption
    Plain,
    /// `tunnel` with kube-proxy beside Cilium
    KubeProxy,
    /// `tunnel` with what Cilium 1.19 changes
    Next,
}

impl fmt::Display for LabProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no profile is hidden");
        f.write_str(value.get_name())
    }
}

/// `meshproof lab …`
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Start the lab and print `export KUBECONFIG=…` once both clusters are ready; runs until Ctrl-C
    Up {
        /// Run in the background; `meshproof lab down` stops it
        #[arg(long)]
        detach: bool,
        /// Nodes per cluster
        #[arg(long, value_name = "N", default_value_t = LAB_NODES, value_parser = value_parser!(u8).range(1..=80))]
        nodes: u8,
        /// Configuration of Cilium
        #[arg(long, value_enum, value_name = "PROFILE", default_value_t)]
        profile: LabProfile,
        /// Folder of a repository whose values of Cilium both clusters are installed with
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        gitops: Option<PathBuf>,
        /// File of Cilium's Helm values that a cluster is installed with; repeat it for several, of which later ones
        /// win. What the lab cannot do is refused, what it only stores is listed
        #[arg(long, value_name = "ROLE=FILE", value_parser = super::claims::role_and_file)]
        values: Vec<(String, PathBuf)>,
        /// Start with this fault injected (repeatable); `meshproof prove --list` lists the faults
        #[arg(long = "fault", value_name = "FAULT")]
        faults: Vec<String>,
    },
    /// Show clusters, nodes, pods and injected faults
    Status,
    /// Stop the lab
    Down,
    /// Inject a fault
    Inject {
        /// Name of the fault; `meshproof prove --list` lists the faults
        fault: String,
    },
    /// Heal a fault
    Heal {
        /// Name of the fault; `meshproof lab status` shows those injected
        fault: String,
    },
}

/// `meshproof prove`
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// Only faults whose name contains one of these; without any, all faults
    pub faults: Vec<String>,
    /// List the faults, one per line, and exit
    #[arg(long)]
    pub list: bool,
    /// Run every check against every fault, not only the checks that a fault concerns
    #[arg(long)]
    pub full: bool,
    /// Run only the checks that name a fault against it: quicker, and says nothing of other checks that notice it
    #[arg(long, conflicts_with = "full")]
    pub named: bool,
    /// Number of labs to run in parallel (about 0.25 CPU each)
    #[arg(long, value_name = "N", default_value = "8")]
    pub labs: NonZeroU8,
    /// Nodes per cluster of each lab
    #[arg(long, value_name = "N", default_value = "2", value_parser = value_parser!(u8).range(2..=80))]
    pub nodes: u8,
    /// Configuration of Cilium in the labs
    #[arg(long, value_enum, value_name = "PROFILE", default_value_t)]
    pub profile: LabProfile,
    /// Prove in each configuration, one after another
    #[arg(long, conflicts_with = "profile")]
    pub all_profiles: bool,
    /// Inject each fault that has a size by itself at 0.5, 1.5 and 3 times its threshold; without this, all of them
    /// together at 0.5, and each at one of the others
    #[arg(long)]
    pub each_size: bool,
    /// Seed of the places where faults act (nodes, pairs, directions) and of their sizes [default: the day of the run]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Folder for the reports
    #[arg(long, value_name = "DIR", default_value = "reports", value_hint = ValueHint::DirPath)]
    pub report_dir: PathBuf,
}
