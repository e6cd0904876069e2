//! `meshproof.yaml`: what a team wants every run of theirs to use. The command line wins over it.

use crate::args::PullPolicy;
use anyhow::{Context, bail};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The file read when `--config` is not given, if it is there.
pub const DEFAULT_FILE: &str = "meshproof.yaml";

/// The file's content; every key is optional, an unknown one is an error.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Role name to kubeconfig context.
    pub contexts: BTreeMap<String, String>,
    /// The probe image that the clusters' nodes have.
    pub image: Option<String>,
    /// When the nodes pull it.
    pub pull_policy: Option<PullPolicy>,
    /// Folder for the reports.
    pub report_dir: Option<PathBuf>,
    /// Longest time of one trial.
    #[serde(deserialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// Trials at once.
    pub jobs: Option<u16>,
}

impl Config {
    /// Reads `given`, or [`DEFAULT_FILE`] if it exists; a missing default is an empty configuration.
    pub fn read(given: Option<&Path>) -> anyhow::Result<Self> {
        let path = given.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && given.is_none() => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        match serde_saphyr::from_str(text) {
            Ok(config) => Ok(config),
            Err(error) => {
                let place = error
                    .location()
                    .map(|at| format!(":{}:{}", at.line(), at.column()))
                    .unwrap_or_default();
                bail!(
                    "{}{place}: {}",
                    path.display(),
                    first_line(&error.without_snippet().to_string())
                )
            }
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

fn optional_duration<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    Option::<String>::deserialize(d)?
        .map(|text| crate::args::duration(&text))
        .transpose()
        .map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("meshproof.yaml")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_full_file_is_read() {
        let config =
            parse("contexts:\n  infra: a\n  apps: b\nimage: r.example/m:1\npullPolicy: Never\ntimeout: 2m\njobs: 3\n")
                .expect("valid");
        assert_eq!(config.contexts["apps"], "b");
        assert_eq!(config.pull_policy, Some(PullPolicy::Never));
        assert_eq!(config.timeout, Some(Duration::from_secs(120)));
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let broken = parse("image: x\njobs: [1\n").expect_err("malformed");
        assert!(broken.starts_with("meshproof.yaml:"), "{broken}");
        let unknown = parse("image: x\nimgae: y\n").expect_err("unknown key");
        assert!(unknown.starts_with("meshproof.yaml:2:1: "), "{unknown}");
        assert!(unknown.contains("imgae"), "{unknown}");
        let kind = parse("jobs: many\n").expect_err("wrong type");
        assert!(kind.starts_with("meshproof.yaml:1:7: "), "{kind}");
    }

    #[test]
    fn an_empty_file_is_an_empty_configuration() {
        assert_eq!(parse("\n"), Ok(Config::default()));
    }
}
