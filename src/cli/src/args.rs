//! The command line: what users type, typed. What it means is decided in `command`.

mod again;
mod claims;
mod doctor;
mod gate;
mod lab;
mod run;
mod watch;

pub use again::{again, again_with};
pub use claims::{ClaimsCheckArgs, ClaimsCommand, ClaimsFormat};
pub use doctor::DoctorArgs;
pub use gate::{GateArgs, GateFormat};
pub use lab::{LAB_NODES, LabCommand, LabProfile, ProveArgs};
pub use meshproof_contract::thresholds::parse_duration as duration;
pub use run::{Format, RunArgs, TargetArgs};
pub use watch::WatchArgs;

use clap::{Args, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

/// Verifies that two Kubernetes clusters joined by a Cilium cluster mesh work as their operators claim.
///
/// Exit codes: 0 all checks passed; 1 a check failed; 2 usage or configuration error; 3 inconclusive, clusters not
/// usable, or no lab possible on this machine; 4 nothing ran, or less than `required`; 130 interrupted.
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

    /// Log to stderr (-v: info, -vv: debug); RUST_LOG overrides it
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy probes, run the checks, write the reports and clean up
    #[command(after_long_help = run::EXAMPLES)]
    Run(Box<RunArgs>),
    /// Send streams of probes while somebody works on the clusters, and tell each outage with what changed near it
    #[command(after_long_help = watch::EXAMPLES)]
    Watch(Box<WatchArgs>),
    /// Run two emulated clusters on this machine (Linux only): real sockets, packets and WireGuard, no Docker
    Lab {
        /// What to do with it.
        #[command(subcommand)]
        command: LabCommand,
    },
    /// Inject each fault into a lab and show which checks catch it
    Prove(ProveArgs),
    /// Check what a repository claims of the clusters (contacts no cluster)
    Claims {
        /// What to do with them.
        #[command(subcommand)]
        command: ClaimsCommand,
    },
    /// Show what a check proves, how, by which control, and what to do when it is red; or what a Helm value claims
    Explain {
        /// Id of a check, Helm value of Cilium or rule of `claims check`, or part of one; without it, all checks are
        /// listed
        check: Option<String>,
    },
    /// Write a commented meshproof.yaml from the clusters' current state (read-only)
    Init(InitArgs),
    /// Show whether a run can start and what each suite will be able to do (read-only, at most 5 s)
    #[command(after_long_help = doctor::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Remove what an interrupted or killed run left behind
    Clean {
        /// Where.
        #[command(flatten)]
        target: TargetArgs,
        /// Clean even if another run holds the Lease
        #[arg(long)]
        force: bool,
    },
    /// Rebuild the reports of a run from its event log
    Report {
        /// The run's folder or its events.ndjson
        #[arg(value_hint = ValueHint::AnyPath)]
        run: PathBuf,
    },
    /// Compare a run with earlier ones: GO, NO-GO or CANNOT TELL, with reasons (contacts no cluster)
    #[command(after_long_help = gate::EXAMPLES)]
    Gate(GateArgs),
    /// Print the ClusterRole that runs need, with the reason for each rule (contacts no cluster)
    #[command(after_long_help = RBAC_EXAMPLES)]
    Rbac {
        /// Include the rules that runs with --disruptive need
        #[arg(long)]
        disruptive: bool,
        /// Print the Role that lets runs read the Helm release of Cilium instead: Secrets of kube-system
        #[arg(long, conflicts_with = "disruptive")]
        helm_release: bool,
        /// Print instead the Roles for the namespaces that flows of meshproof.yaml, and of FILE if given, name for
        /// their clients
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, num_args = 0..=1,
              conflicts_with_all = ["disruptive", "helm_release"])]
        flows: Option<Option<PathBuf>>,
        /// Configuration file for --flows [default: ./meshproof.yaml if it exists]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "flows")]
        config: Option<PathBuf>,
    },
    /// Write the probe image as an archive for ctr, kind, podman or docker, or push it to a registry
    #[command(after_long_help = IMAGE_EXAMPLES)]
    Image(ImageArgs),
    /// Compare the probe rate of agents' batches with that of one exec per probe
    #[command(hide = true)]
    Bench(BenchArgs),
    /// Write a man page of each command
    Man {
        /// Folder to write them to
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const RBAC_EXAMPLES: &str = "\
Examples:
  meshproof rbac | kubectl --context infra apply -f -
  kubectl --context infra create clusterrolebinding meshproof --clusterrole meshproof --user USER
  meshproof rbac --helm-release | kubectl --context infra apply -f -
  kubectl --context infra -n kube-system create rolebinding meshproof --role meshproof-helm-release --user USER";

const IMAGE_EXAMPLES: &str = "\
Examples:
  ci/image.sh probe.tar                                       build the agent and write its image
  meshproof image --agent x86/meshproof-agent --agent arm/meshproof-agent \\
                  --push registry.example/agent:1             push an index of both
  meshproof image --runner dist/meshproof-runner-linux-amd64 --output job.tar

Several binaries make an index, of which each node takes what fits it; `docker load` reads one since Docker 25.";

/// `meshproof init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Use two emulated clusters on this machine (Linux only)
    #[arg(long, conflicts_with_all = ["infra_context", "apps_context", "context"], help_heading = "Clusters")]
    pub lab: bool,
    /// File to write [default: ./meshproof.yaml]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
    /// Print the JSON Schema of meshproof.yaml and exit
    #[arg(long)]
    pub schema: bool,
}

/// `meshproof bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Where.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Use two emulated clusters on this machine (Linux only)
    #[arg(long, conflicts_with_all = ["infra_context", "apps_context", "context"], help_heading = "Clusters")]
    pub lab: bool,
    /// Probe image that the clusters' nodes have
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// Number of probes per pair of pods in a batch
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
}

/// `meshproof image`
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// Archive to write
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "push")]
    pub output: Option<PathBuf>,
    /// Push the image to a registry under this name, with the credentials of the Docker configuration
    #[arg(long, value_name = "REF")]
    pub push: Option<String>,
    /// Speak HTTP to the registry
    #[arg(long, requires = "push")]
    pub plain_http: bool,
    /// Static agent binary to pack; give one for each architecture [default: meshproof-agent beside this command]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub agent: Vec<PathBuf>,
    /// Static binary of this command, built without the lab: makes the image of the Job (ci/job) instead
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "agent")]
    pub runner: Vec<PathBuf>,
    /// Image name stored in the archive [default: that of --push, or else meshproof.dev/agent, or /meshproof for
    /// --runner, with the version]
    #[arg(long, value_name = "REF", conflicts_with = "push")]
    pub reference: Option<String>,
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
