//! `meshproof.yaml`: the settings that a team shares between runs. The command line overrides it.

mod claims;
mod error;
mod file;
mod flows;
#[cfg(test)]
mod page;
mod required;
mod resolve;
pub mod schema;
pub mod value;
mod waivers;

pub use claims::Declared;
pub use error::ConfigError;
pub use file::NodePowerEntry;
pub use flows::Flows;
pub use required::{Ran, Required};
pub use waivers::Waivers;

use meshproof_contract::{OutsideFacts, PullPolicy, thresholds::ThresholdOverrides};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The file read when `--config` is not given, if it is there.
pub const DEFAULT_FILE: &str = "meshproof.yaml";

/// The configuration as the program uses it; everything that the file leaves out is empty or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Role name to kubeconfig context.
    pub contexts: BTreeMap<String, String>,
    /// What the operators claim, cluster by cluster.
    pub claims: Declared,
    /// The service levels that they promise.
    pub thresholds: ThresholdOverrides,
    /// Hosts outside the clusters.
    pub outside: Vec<OutsideFacts>,
    /// Flows that the operators have written down.
    pub flows: Flows,
    /// What must run at least.
    pub required: Required,
    /// Failures that are known and accepted.
    pub waivers: Waivers,
    /// Whether checks may disrupt the clusters.
    pub disruptive: bool,
    /// Commands that cut off a node.
    pub node_power: Option<NodePowerEntry>,
    /// Probe image that the clusters' nodes have.
    pub image: Option<String>,
    /// When nodes pull it.
    pub pull_policy: Option<PullPolicy>,
    /// Docker configuration with credentials for it.
    pub image_pull_secret: Option<PathBuf>,
    /// Time limit of one trial.
    pub timeout: Option<Duration>,
    /// How long agents may take to become ready.
    pub ready_timeout: Option<Duration>,
    /// Milliseconds between two probes of a stream during a disruption.
    pub stream_spacing_ms: Option<u32>,
    /// For how long a clustermesh-apiserver is also kept down.
    pub mesh_outage: Option<Duration>,
    /// Maximum number of concurrent trials.
    pub jobs: Option<u16>,
    /// Folder for the reports.
    pub report_dir: Option<PathBuf>,
}

impl Config {
    /// Reads `given`, or [`DEFAULT_FILE`] if it exists; a missing default is an empty configuration.
    ///
    /// # Errors
    /// A file that cannot be read, that is not of the format, or that contradicts itself.
    pub fn read(given: Option<&Path>) -> Result<Self, ConfigError> {
        let path = given.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && given.is_none() => Ok(Self::default()),
            Err(source) => Err(ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads the text of a file; `path` names it in errors and in the claims' sources.
    ///
    /// # Errors
    /// A text that is not of the format, or that contradicts itself.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let path = path.display().to_string();
        // Comments and blanks alone are an empty file.
        let file = serde_saphyr::from_str::<Option<file::ConfigFile>>(text);
        let file = file.map_err(|error| ConfigError::malformed(&path, &error))?;
        resolve::resolve(&path, file.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
