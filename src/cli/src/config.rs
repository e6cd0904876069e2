//! `meshproof.yaml`: what a team wants every run of theirs to use. The command line wins over it.

mod claims;
mod error;
mod file;
#[cfg(test)]
mod page;
pub mod required;
mod resolve;
pub mod schema;
pub mod value;

pub use claims::Declared;
pub use error::ConfigError;
pub use file::NodePowerEntry;
pub use required::Required;

use crate::args::PullPolicy;
use meshproof_contract::{OutsideFacts, Thresholds};
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
    /// What they promise.
    pub thresholds: Thresholds,
    /// What is outside the clusters, for policies to be about.
    pub outside: Vec<OutsideFacts>,
    /// The least that must have run.
    pub required: Required,
    /// Whether checks may disturb the clusters.
    pub disruptive: bool,
    /// How a node is cut off.
    pub node_power: Option<NodePowerEntry>,
    /// The probe image that the clusters' nodes have.
    pub image: Option<String>,
    /// When the nodes pull it.
    pub pull_policy: Option<PullPolicy>,
    /// Longest time of one trial.
    pub timeout: Option<Duration>,
    /// How long agents may take to become ready.
    pub ready_timeout: Option<Duration>,
    /// Milliseconds between two probes of the streams that watch a disturbance.
    pub stream_spacing_ms: Option<u32>,
    /// Trials at once.
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
