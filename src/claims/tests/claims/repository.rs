//! A repository in a temporary folder.

use meshproof_claims::{Report, Request, check};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

/// The folder; it goes with this.
pub struct Repository(TempDir);

impl Repository {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn with(files: &[(&str, &str)]) -> Self {
        let repository = Self::new();
        for (path, text) in files {
            repository.write(path, text);
        }
        repository
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, text).expect("written");
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn check(&self) -> Report {
        self.check_with(&[])
    }

    pub fn check_with(&self, values: &[(&str, &str)]) -> Report {
        let values = values.iter().map(|(role, file)| ((*role).to_owned(), self.path(file))).collect();
        let root = self.0.path().to_owned();
        check(&Request { root, values }).expect("a readable folder")
    }
}

/// The findings as `path:line rule`.
pub fn found(report: &Report) -> Vec<String> {
    let shown = |finding: &meshproof_claims::Finding| {
        format!("{}:{} {}", report.path(finding.place.file), finding.place.line, finding.rule)
    };
    report.findings.iter().map(shown).collect()
}
