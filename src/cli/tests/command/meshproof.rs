//! The command, run to its end in a folder of its own.

use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

/// A command that has ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// An empty folder.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A folder with this `meshproof.yaml`.
pub fn folder_with(config: &str) -> TempDir {
    let folder = folder();
    fs::write(folder.path().join("meshproof.yaml"), config).expect("written");
    folder
}

/// Runs the command in the folder, which is also its home.
pub fn meshproof(folder: &Path, words: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_meshproof"))
        .args(words)
        .current_dir(folder)
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .env("HOME", folder)
        // For the help: as wide everywhere, without colours.
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG")
        .output()
        .expect("the command starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

impl Ended {
    /// Everything that was printed.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// That it ended with this code and printed all of these.
    #[track_caller]
    pub fn ends(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        let text = self.text();
        for part in parts {
            assert!(text.contains(part), "expected '{part}' in:\n{text}");
        }
        assert!(!text.contains("panicked"), "{text}");
        self
    }
}
