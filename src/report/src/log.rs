//! `events.ndjson`: one event a line, the source of truth of a run.

use meshproof_contract::{EventRecord, event::LOG_VERSION};
use serde::Deserialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is not an event.
    #[error("failed to read {}: line {line} is not an event: {source}", path.display())]
    Malformed {
        /// The log.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A log of another version, which this meshproof would misread.
    #[error(
        "{} is of log version {theirs}; this meshproof reads version {LOG_VERSION}: \
         rebuild the reports with the meshproof that wrote it",
        path.display()
    )]
    Version {
        /// The log.
        path: PathBuf,
        /// Its version.
        theirs: u32,
    },
}

/// Reads the log of a run: the file itself, or the run's folder.
///
/// A last line without its end is what a killed run leaves, and is left out.
///
/// # Errors
/// The file cannot be read, another line is malformed, or the log is of another version.
pub fn read_log(path: &Path) -> Result<Vec<EventRecord>, LogError> {
    let path = if path.is_dir() {
        path.join("events.ndjson")
    } else {
        path.to_owned()
    };
    let bytes = fs::read(&path).map_err(|source| LogError::Read {
        path: path.clone(),
        source,
    })?;
    match version(&bytes) {
        Some(theirs) if theirs != LOG_VERSION => Err(LogError::Version { path, theirs }),
        _ => parse(&bytes).map_err(|(line, source)| LogError::Malformed { path, line, source }),
    }
}

/// The version in the first event, read before anything else: events of another version may not even parse. None when
/// the log lacks that event.
fn version(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct FirstEvent {
        log_version: Option<u32>,
    }
    let first = bytes
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())?;
    serde_json::from_slice::<FirstEvent>(first).ok()?.log_version
}

/// The events of a log's bytes, or the line that is not one.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<EventRecord>, (usize, serde_json::Error)> {
    let mut events = Vec::new();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    for (index, line) in &mut lines {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(event) => events.push(event),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => return Err((index + 1, error)),
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.ndjson");
        fs::write(&path, text).expect("written");
        (folder, path)
    }

    #[test]
    fn a_torn_last_line_is_left_out_wherever_it_is_torn() {
        let whole = include_bytes!("../testdata/mixed.ndjson");
        let lines = whole.iter().filter(|byte| **byte == b'\n').count();
        let last = whole[..whole.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .expect("lines")
            + 1;
        for end in last..whole.len() - 1 {
            assert_eq!(
                parse(&whole[..end]).expect("tolerated").len(),
                lines - 1,
                "cut at byte {end}"
            );
        }
        assert_eq!(
            parse(&whole[..whole.len() - 1]).expect("complete").len(),
            lines,
            "only the newline is missing"
        );
    }

    #[test]
    fn another_malformed_line_is_an_error_with_its_number() {
        let (folder, path) = log(b"{\"at\":\"2026-11-21T09:30:00Z\",\"event\":\"waiting\",\"what\":\"x\"}\n\n{oops}\n");
        let error = read_log(folder.path()).expect_err("malformed").to_string();
        assert!(
            error.starts_with(&format!("failed to read {}: line 3 is not an event", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_log_of_another_version_is_refused_with_what_to_do() {
        for theirs in [1, 9] {
            let (folder, path) = log(format!(
                "{{\"at\":\"2026-11-21T09:30:00Z\",\"event\":\"run_started\",\"log_version\":{theirs},\"run\":\"r\",\"\
                 version\":\"9\",\"command\":[]}}\n{{\"event\":\"of another time\"}}\n"
            )
            .as_bytes());
            let error = read_log(folder.path()).expect_err("another version").to_string();
            assert_eq!(
                error,
                format!(
                    "{} is of log version {theirs}; this meshproof reads version 2: rebuild the reports with the \
                     meshproof that wrote it",
                    path.display()
                )
            );
        }
    }

    #[test]
    fn an_absent_log_names_its_path() {
        let error = read_log(Path::new("/nonexistent/run")).expect_err("absent").to_string();
        assert!(error.starts_with("failed to read /nonexistent/run: "), "{error}");
    }
}
