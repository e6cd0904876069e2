//! Scripts of ci/ run with stubs instead of the tools that they call: each stub writes down what it was asked.

use crate::root;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// What scripts may take for granted. Everything else is a stub, or missing.
const EVERYWHERE: [&str; 21] = [
    "base64", "basename", "bash", "cat", "chmod", "cut", "dirname", "grep", "head", "mkdir", "mktemp", "mv", "paste",
    "rm", "rmdir", "sed", "sh", "sleep", "sort", "tr", "touch",
];

/// A folder with stubs and, by links, what every system has: nothing else is in the PATH.
pub struct Stubs {
    folder: TempDir,
}

/// What a script did.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    /// Each call of a stub: its name and arguments, in order.
    pub calls: Vec<String>,
}

impl Stubs {
    /// Stubs of these names; each runs its lines of shell after it wrote down its call.
    pub fn new(stubs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("bin")).expect("a folder");
        let stubs_folder = Self { folder };
        for name in EVERYWHERE {
            let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
            let found = found.into_iter().find(|path| path.exists());
            let found = found.unwrap_or_else(|| panic!("this system has no {name}"));
            symlink(found, stubs_folder.path("bin").join(name)).expect("links");
        }
        for (name, lines) in stubs {
            let log = stubs_folder.path("calls");
            let script = format!("#!/bin/sh\necho \"{name} $*\" >> '{}'\n{lines}\n", log.display());
            let path = stubs_folder.path("bin").join(name);
            fs::write(&path, script).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("is ours");
        }
        stubs_folder
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Without one of them, as where it is not installed.
    pub fn without(self, name: &str) -> Self {
        fs::remove_file(self.path("bin").join(name)).expect("is there");
        self
    }

    /// Runs a script of the repository. Its tools are the stubs and what every system has.
    pub fn run(&self, script: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> Ran {
        let _ = fs::remove_file(self.path("calls"));
        let output: Output = Command::new("/bin/bash")
            .arg(root().join(script))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", self.path("bin"))
            .envs(environment.iter().copied())
            .output()
            .expect("bash runs");
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            calls: calls.lines().map(str::to_owned).collect(),
        }
    }
}

impl Ran {
    /// Fails the test unless the script ended so; gives what it did.
    pub fn ending(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}\n{:#?}", self.out, self.err, self.calls);
        self
    }

    /// The calls that begin so.
    pub fn calls_of(&self, start: &str) -> Vec<&str> {
        let calls = self.calls.iter().map(String::as_str);
        calls.filter(|call| call.starts_with(start)).collect()
    }
}
