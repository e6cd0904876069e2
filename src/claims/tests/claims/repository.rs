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
        let values = values
            .iter()
            .map(|(role, file)| ((*role).to_owned(), self.path(file)))
            .collect();
        let root = self.0.path().to_owned();
        check(&Request { root, values }).expect("a readable folder")
    }
}

/// The findings as `path:line rule`.
pub fn found(report: &Report) -> Vec<String> {
    let shown = |finding: &meshproof_claims::Finding| {
        format!(
            "{}:{} {}",
            report.path(finding.place.file),
            finding.place.line,
            finding.rule
        )
    };
    report.findings.iter().map(shown).collect()
}

/// The processor time that this process has had so far, in seconds: unlike the clock, no matter what else runs. It
/// counts the tests that run beside this one; nothing where the system does not tell.
pub fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}
