//! Runs that were stored earlier: a run's folder, its `report.json` wherever that was put, or a folder of several runs.

use crate::{
    log::{LogError, read_log},
    model::{REPORT_VERSION, RunReport},
};
use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why runs cannot be read: one line with the cause and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The file or folder cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its event log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The file is no report.
    #[error("{} is not a report.json of meshproof: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A report of another version, which this meshproof would misread.
    #[error(
        "{} is of report version {theirs}; this meshproof reads version {REPORT_VERSION}: rebuild it with \
         `meshproof report` from its event log, or take a newer run",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        theirs: u32,
    },
    /// Neither a run nor runs.
    #[error("{} holds no run: expected report.json, events.ndjson, or folders with them", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Several runs where one is needed.
    #[error("{} holds {count} runs: name one of them", path.display())]
    SeveralRuns {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

/// The run at a path: a run's folder, `report.json` or `events.ndjson`.
///
/// # Errors
/// Nothing can be read there, or there are several runs.
pub fn read_run(path: &Path) -> Result<RunReport, StoredError> {
    let mut runs = read_runs(path)?;
    match (runs.pop(), runs.len()) {
        (Some(run), 0) => Ok(run),
        (_, others) => Err(StoredError::SeveralRuns {
            path: path.to_owned(),
            count: others + 1,
        }),
    }
}

/// The runs at a path, oldest first: one, or those of a folder of runs. Links in such a folder, as `latest` is, are
/// passed over.
///
/// # Errors
/// Nothing can be read there, or one of the runs is malformed.
pub fn read_runs(path: &Path) -> Result<Vec<RunReport>, StoredError> {
    let failed = |source| StoredError::Read {
        path: path.to_owned(),
        source,
    };
    let kind = fs::metadata(path).map_err(failed)?;
    if !kind.is_dir() {
        return Ok(vec![file(path)?]);
    }
    if let Some(run) = folder(path)? {
        return Ok(vec![run]);
    }
    let mut runs = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            runs.extend(folder(&path)?);
        }
    }
    if runs.is_empty() {
        return Err(StoredError::NoRun { path: path.to_owned() });
    }
    runs.sort_by_key(|run| run.started);
    Ok(runs)
}

/// The run of a folder; none if it is not a run's. The log is the truth, and a report was made of it.
fn folder(path: &Path) -> Result<Option<RunReport>, StoredError> {
    for name in ["report.json", "events.ndjson"] {
        let path = path.join(name);
        if path.is_file() {
            return file(&path).map(Some);
        }
    }
    Ok(None)
}

fn file(path: &Path) -> Result<RunReport, StoredError> {
    if path.extension().is_some_and(|extension| extension == "ndjson") {
        return Ok(RunReport::from_events(&read_log(path)?));
    }
    let bytes = fs::read(path).map_err(|source| StoredError::Read {
        path: path.to_owned(),
        source,
    })?;
    let malformed = |source| StoredError::Malformed {
        path: path.to_owned(),
        source,
    };
    #[derive(Deserialize)]
    struct Version {
        report_version: u32,
    }
    let Version { report_version: theirs } = serde_json::from_slice(&bytes).map_err(malformed)?;
    if theirs != REPORT_VERSION {
        return Err(StoredError::Version {
            path: path.to_owned(),
            theirs,
        });
    }
    serde_json::from_slice(&bytes).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, json};

    #[test]
    fn a_run_is_read_from_folder_report_and_log_and_several_from_their_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let path = |name: &str| root.path().join(name);
        let report = fixture::log("green");
        for name in ["runs/a", "runs/b", "runs/notes"] {
            fs::create_dir_all(path(name)).expect("made");
        }
        fs::write(path("runs/a/report.json"), json(&report)).expect("written");
        fs::write(path("runs/b/events.ndjson"), include_bytes!("../testdata/red.ndjson")).expect("written");
        for one in ["runs/a", "runs/a/report.json"] {
            assert_eq!(read_run(&path(one)).expect("a run"), report);
        }
        assert_eq!(read_run(&path("runs/b")).expect("a run"), fixture::log("red"));
        assert_eq!(read_runs(&path("runs")).expect("runs").len(), 2);
        let error = read_run(&path("runs")).expect_err("two runs").to_string();
        assert!(error.ends_with("holds 2 runs: name one of them"), "{error}");
    }

    #[test]
    fn what_is_no_run_is_told_with_its_path() {
        let root = tempfile::tempdir().expect("a folder");
        let error = |path: &Path| read_run(path).expect_err("no run").to_string();
        assert!(error(root.path()).contains("holds no run: expected report.json"));
        assert!(error(&root.path().join("absent")).starts_with("failed to read"));
        let file = root.path().join("report.json");
        fs::write(&file, "{\"a\": 1}").expect("written");
        assert!(error(&file).contains("is not a report.json of meshproof: missing field"));
        fs::write(&file, "{\"report_version\": 1}").expect("written");
        assert!(error(root.path()).contains("is of report version 1; this meshproof reads version"));
    }
}
