//! The command line: what users type, typed. What it means is decided in `command`.

mod again;
mod run;

pub use again::{again, again_with};
pub use meshproof_contract::thresholds::parse_duration as duration;
use meshproof_lab::NODES;
pub use run::{Format, PullPolicy, RunArgs, TargetArgs};

use clap::{Args, Parser, Subcommand, ValueHint};
use std::{num::NonZeroU8, path::PathBuf};

/// Proves that two Kubernetes clusters joined into one Cilium service mesh do what their operators believe.
///
/// Exit codes: 0 all passed; 1 a check failed; 2 usage or configuration; 3 could not tell (inconclusive, environment,
/// lab impossible); 4 nothing or less than the required minimum ran; 130 interrupted.
#[derive(Debug, Parser)]
#[command(
    name = "meshproof",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// More about what meshproof does, on stderr (-v, -vv); RUST_LOG is honoured too
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy probes, run the checks, write the reports, and remove everything again
    #[command(after_long_help = run::EXAMPLES)]
    Run(Box<RunArgs>),
    /// Two emulated clusters on this machine (Linux): real sockets, packets and WireGuard, no Docker
    Lab {
        /// What to do with it.
        #[command(subcommand)]
        command: LabCommand,
    },
    /// Inject each fault into a lab and show which check catches it
    Prove(ProveArgs),
    /// What a check proves, how, by which control, and what to do when it is red
    Explain {
        /// A check's id, or a part of it; without it all are listed
        check: Option<String>,
    },
    /// Write a commented meshproof.yaml from what the clusters show; changes nothing in them
    Init(InitArgs),
    /// Remove what a killed run left behind, and only that
    Clean {
        /// Where.
        #[command(flatten)]
        target: TargetArgs,
        /// Clean even though another run holds the Lease
        #[arg(long)]
        force: bool,
    },
    /// Write a run's reports again from its event log
    Report {
        /// The run's folder, or its events.ndjson
        #[arg(value_hint = ValueHint::AnyPath)]
        run: PathBuf,
    },
    /// Print the ClusterRole that runs need, with the reason of every rule; nothing else is asked of the API
    #[command(
        after_long_help = "Examples:\n  meshproof rbac | kubectl --context infra apply -f -\n  kubectl --context infra create clusterrolebinding meshproof --clusterrole meshproof --user USER"
    )]
    Rbac {
        /// Also what runs with --disruptive need
        #[arg(long)]
        disruptive: bool,
    },
    /// Write the probe image as an archive for `ctr images import`, `kind load image-archive`, `podman load`, `docker load`
    Image(ImageArgs),
    /// Measure probes a second: batches of agents against one exec a probe
    #[command(hide = true)]
    Bench(BenchArgs),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// `meshproof lab …`
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Start it; prints `export KUBECONFIG=…` on stdout once both clusters are ready, and stays until Ctrl-C
    Up {
        /// Leave it running in the background
        #[arg(long)]
        detach: bool,
        /// Nodes of each cluster
        #[arg(long, value_name = "N", default_value_t = NODES, value_parser = clap::value_parser!(u8).range(1..=80))]
        nodes: u8,
        /// Start with this fault injected (repeatable)
        #[arg(long = "fault", value_name = "FAULT")]
        faults: Vec<String>,
    },
    /// What runs, what is broken on purpose
    Status,
    /// Stop it
    Down,
    /// Break something in the running lab on purpose; `meshproof prove --list` names what
    Inject {
        /// The fault
        fault: String,
    },
    /// Mend it again
    Heal {
        /// The fault
        fault: String,
    },
}

/// `meshproof prove`
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// Only these faults (a name or a part of it); all without
    pub faults: Vec<String>,
    /// Print one fault a line and stop
    #[arg(long)]
    pub list: bool,
    /// Run every check against every fault, instead of the suites that the fault concerns
    #[arg(long)]
    pub full: bool,
    /// Labs that share the faults; each wants about a quarter of a core
    #[arg(long, value_name = "N", default_value = "8")]
    pub labs: NonZeroU8,
    /// Nodes of each cluster of these labs
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u8).range(2..=80))]
    pub nodes: u8,
    /// Folder for the reports
    #[arg(long, value_name = "DIR", default_value = "reports", value_hint = ValueHint::DirPath)]
    pub report_dir: PathBuf,
}

/// `meshproof init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// From two emulated clusters on this machine (Linux), to see what it looks like
    #[arg(long, conflicts_with_all = ["infra_context", "apps_context", "context"], help_heading = "Clusters")]
    pub lab: bool,
    /// Where to write it; ./meshproof.yaml without
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
    /// Print the JSON Schema of meshproof.yaml and stop
    #[arg(long)]
    pub schema: bool,
}

/// `meshproof bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// On two emulated clusters on this machine (Linux)
    #[arg(long, conflicts_with_all = ["infra_context", "apps_context", "context"], help_heading = "Clusters")]
    pub lab: bool,
    /// The probe image that the clusters' nodes have
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// How often each pair of pods is probed by batch
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
}

/// `meshproof image`
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// Where to write the archive
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// The static agent binary to pack; without, a `meshproof-agent` beside this command (ci/image.sh builds both)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub agent: Option<PathBuf>,
    /// The image's name in the archive
    #[arg(long, value_name = "REF", default_value = crate::DEFAULT_IMAGE)]
    pub reference: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
