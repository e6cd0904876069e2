//! A run's folder, `reports/<run id>/`: the event log as it grows, and the reports at the end.

mod atomic;
mod event_log;
mod latest;

pub use event_log::EventLog;

use crate::{
    attachment::attachments, html::html, junit::junit, markdown::markdown, metrics::metrics, model::RunReport,
    sarif::sarif, schema::json,
};
use meshproof_contract::RunId;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why a run's folder cannot be used: one line with the cause and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder cannot be made.
    #[error("failed to create {}: {source}; {}", path.display(), creating_next(source))]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not the folder of a run.
    #[error("{} is not the folder of a run: events.ndjson is missing", path.display())]
    NoRun {
        /// As given.
        path: PathBuf,
    },
    /// A file in it cannot be written.
    #[error("failed to write {}: {source}; {}", path.display(), writing_next(source, path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `latest` cannot be replaced.
    #[error("failed to point {} to this run: {source}; remove it unless meshproof made it", path.display())]
    Latest {
        /// The link.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn creating_next(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => "a run of that id or another file is already there",
        io::ErrorKind::StorageFull => "free some space or choose another folder with --report-dir",
        _ => "choose a writable folder with --report-dir",
    }
}

fn writing_next(error: &io::Error, path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::StorageFull => {
            format!("free some space, then rebuild the reports with `meshproof report {folder}`")
        }
        _ => format!("make it writable, then rebuild the reports with `meshproof report {folder}`"),
    }
}

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes `reports/<run>/`, with the folders above it.
    ///
    /// # Errors
    /// The folder cannot be made, or is there already.
    pub fn create(reports: &Path, run: &RunId) -> Result<Self, FolderError> {
        fs::create_dir_all(reports).map_err(|source| FolderError::Create {
            path: reports.to_owned(),
            source,
        })?;
        let path = reports.join(run.as_str());
        fs::create_dir(&path).map_err(|source| FolderError::Create {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path })
    }
    /// The folder of an earlier run, named by itself or by its `events.ndjson`.
    ///
    /// # Errors
    /// There is no event log in it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let folder = match path.file_name() {
            Some(name) if name == EventLog::FILE => path.parent().unwrap_or(Path::new(".")),
            _ => path,
        };
        if folder.join(EventLog::FILE).is_file() {
            Ok(Self {
                path: folder.to_owned(),
            })
        } else {
            Err(FolderError::NoRun { path: path.to_owned() })
        }
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
    /// Opens its event log for appending.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn event_log(&self) -> Result<EventLog, FolderError> {
        EventLog::open(self.file(EventLog::FILE))
    }
    /// Lets `latest` beside it point here: call it when a run starts, so that whoever reads `latest` after a crash does
    /// not meet the reports of the run before.
    ///
    /// # Errors
    /// Neither a link nor a file of that name can be made.
    pub fn point_latest(&self) -> Result<(), FolderError> {
        latest::point(&self.path)
    }
    /// Writes every format, each file whole or not at all.
    ///
    /// # Errors
    /// The first file that cannot be written; those before it are there.
    pub fn write_all(&self, report: &RunReport) -> Result<(), FolderError> {
        let write = |name: &str, text: String| atomic::write(&self.file(name), text.as_bytes());
        write("report.json", json(report))?;
        write("junit.xml", junit(report))?;
        write("summary.md", markdown(report))?;
        write("metrics.prom", metrics(report))?;
        write("report.html", html(report))?;
        if let Some(text) = sarif(report) {
            write("claims.sarif", text)?;
        }
        let attachments = attachments(report);
        if !attachments.is_empty() {
            let path = self.file("attachments");
            fs::create_dir_all(&path).map_err(|source| FolderError::Write { path, source })?;
        }
        attachments
            .into_iter()
            .try_for_each(|attachment| write(&attachment.path, attachment.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, log::read_log};

    #[test]
    fn a_run_from_start_to_reports_and_again_from_the_log() {
        let reports = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&reports.path().join("a/b"), &"run-1".into()).unwrap();
        folder.point_latest().unwrap();
        let mut log = folder.event_log().unwrap();
        fixture::mixed().iter().for_each(|event| log.handle(event).unwrap());
        let events = read_log(&reports.path().join("a/b/latest")).unwrap();
        assert_eq!(events, fixture::mixed());

        folder.write_all(&RunReport::from_events(&events)).unwrap();
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = [
            "attachments",
            "events.ndjson",
            "junit.xml",
            "metrics.prom",
            "report.html",
            "report.json",
            "summary.md",
        ];
        assert_eq!(names, expected, "no temporary file is left");

        let before = fs::read(folder.file("report.html")).unwrap();
        let again = RunFolder::open(&folder.file("events.ndjson")).unwrap();
        again
            .write_all(&RunReport::from_events(&read_log(again.path()).unwrap()))
            .unwrap();
        assert!(
            fs::read(folder.file("report.html")).unwrap() == before,
            "rebuilt from the log, byte by byte the same"
        );
    }

    #[test]
    fn each_obstacle_is_one_line_with_a_next_step() {
        let reports = tempfile::tempdir().unwrap();
        fs::write(reports.path().join("file"), "").unwrap();
        fs::create_dir(reports.path().join("run-1")).unwrap();
        let create = |path: PathBuf| {
            RunFolder::create(&path, &"run-1".into())
                .expect_err("cannot be made")
                .to_string()
        };
        let a_file = create(reports.path().join("file"));
        assert!(a_file.contains("file: ") && a_file.contains("already"), "{a_file}");
        let below_a_file = create(reports.path().join("file/below"));
        assert!(below_a_file.contains("--report-dir"), "{below_a_file}");
        let twice = create(reports.path().to_owned());
        assert!(twice.contains("run-1") && twice.contains("already"), "{twice}");
        let absent = RunFolder::open(reports.path()).expect_err("no log").to_string();
        assert!(
            absent.ends_with("is not the folder of a run: events.ndjson is missing"),
            "{absent}"
        );
        for message in [a_file, below_a_file, twice] {
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
