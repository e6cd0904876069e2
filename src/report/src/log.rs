//! `events.ndjson`: one event a line, the source of truth of a run.

use meshproof_contract::{Event, EventRecord, event::LOG_VERSION};
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
    /// A line that is no event.
    #[error("failed to read {}: line {line} is no event: {source}", path.display())]
    Malformed {
        /// The log.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// Written by a newer meshproof.
    #[error(
        "failed to read {}: it is a log of version {theirs}, this meshproof reads up to {LOG_VERSION}; use the meshproof that wrote it, or a newer one",
        path.display()
    )]
    Newer {
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
/// The file cannot be read, another line is malformed, or the log is of a newer version.
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
    let events = parse(&bytes).map_err(|(line, source)| LogError::Malformed {
        path: path.clone(),
        line,
        source,
    })?;
    match events.iter().find_map(version) {
        Some(theirs) if theirs > LOG_VERSION => Err(LogError::Newer { path, theirs }),
        _ => Ok(events),
    }
}

fn version(record: &EventRecord) -> Option<u32> {
    match record.event {
        Event::RunStarted { log_version, .. } => Some(log_version),
        _ => None,
    }
}

/// The events of a log's bytes, or the line that is none.
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
            error.starts_with(&format!("failed to read {}: line 3 is no event", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_newer_log_is_refused_with_what_to_do() {
        let (folder, _) = log(
            b"{\"at\":\"2026-11-21T09:30:00Z\",\"event\":\"run_started\",\"log_version\":9,\"run\":\"r\",\"version\":\"9\",\"command\":[]}\n",
        );
        let error = read_log(folder.path()).expect_err("newer").to_string();
        assert!(error.contains("version 9") && error.contains("newer one"), "{error}");
    }

    #[test]
    fn an_absent_log_names_its_path() {
        let error = read_log(Path::new("/nonexistent/run")).expect_err("absent").to_string();
        assert!(error.starts_with("failed to read /nonexistent/run: "), "{error}");
    }
}
