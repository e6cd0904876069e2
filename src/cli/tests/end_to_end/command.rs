//! The command under test, and what it leaves on disk.

use crate::{Result, text};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A few quick checks of each suite: enough to see a run from its start to its end.
pub const QUICK: [&str; 3] = ["http_same_node", "mesh::agents_ready", "dns::service_name"];

/// How long a run of a few checks may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// `meshproof` with a folder and a kubeconfig.
pub struct Meshproof {
    folder: TempDir,
    kubeconfig: PathBuf,
}

impl Meshproof {
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir().map_err(text)?,
            kubeconfig: kubeconfig.to_owned(),
        })
    }

    pub fn with_kubeconfig(mut self, path: PathBuf) -> Self {
        self.kubeconfig = path;
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshproof"));
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs these words to the end.
    pub fn ran(&self, words: &[&str]) -> Result<Ended> {
        Started {
            child: self.command(words).spawn().map_err(text)?,
            words: words.join(" "),
        }
        .end()
    }

    /// `run` on both clusters where the folder of reports has room for so many KiB only.
    pub fn run_on_a_small_disk(&self, kibibytes: u32, words: &[&str]) -> Result<Ended> {
        let script = format!("mkdir reports && mount -t tmpfs -o size={kibibytes}k none reports && exec \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
            .arg(env!("CARGO_BIN_EXE_meshproof"))
            .args(Self::on_both_clusters(words))
            .current_dir(self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Started {
            child: command.spawn().map_err(text)?,
            words: words.join(" "),
        }
        .end()
    }

    fn on_both_clusters<'a>(words: &[&'a str]) -> Vec<&'a str> {
        Self::both("run", words)
    }

    fn both<'a>(command: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![command, "--infra-context", "infra", "--apps-context", "apps"];
        all.extend(["--image", meshproof_lab::AGENT_IMAGE]);
        all.extend(words);
        all
    }

    /// `run` on both clusters with the lab's image, and more words.
    pub fn run(&self, words: &[&str]) -> Result<Ended> {
        self.start(words)?.end()
    }

    /// [`Meshproof::run`] that goes on while the test does something else.
    pub fn start(&self, words: &[&str]) -> Result<Started> {
        self.start_with(&Self::on_both_clusters(words))
    }

    /// `watch` on both clusters, which goes on while the test does something else.
    pub fn watch(&self, words: &[&str]) -> Result<Started> {
        self.start_with(&Self::both("watch", words))
    }

    fn start_with(&self, all: &[&str]) -> Result<Started> {
        Ok(Started {
            child: self.command(all).spawn().map_err(text)?,
            words: all.join(" "),
        })
    }

    /// `clean` on both clusters, and more words.
    pub fn clean(&self, words: &[&str]) -> Result<Ended> {
        let mut all = vec!["clean", "--infra-context", "infra", "--apps-context", "apps"];
        all.extend(words);
        self.ran(&all)
    }

    /// The run's folders, oldest first.
    pub fn folders(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.folder.path().join("reports")).map_err(text)?;
        let mut folders: Vec<_> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.is_dir() && !path.is_symlink())
            .collect();
        folders.sort();
        Ok(folders)
    }

    /// A file of the newest run.
    pub fn latest(&self, file: &str) -> Result<PathBuf> {
        let folders = self.folders()?;
        Ok(folders.last().ok_or("no run has a folder")?.join(file))
    }

    /// The newest run's report.
    pub fn report(&self) -> Result<Value> {
        let path = self.latest("report.json")?;
        let json = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&json).map_err(text)
    }

    /// Waits until a line of the newest run's event log holds this text.
    pub fn wait_for_event(&self, part: &str) -> Result<()> {
        let begun = Instant::now();
        let mut last = String::new();
        while begun.elapsed() < PATIENCE {
            if let Ok(log) = self
                .latest("events.ndjson")
                .and_then(|path| fs::read_to_string(path).map_err(text))
            {
                if log.contains(part) {
                    return Ok(());
                }
                last = log.lines().last().unwrap_or_default().to_owned();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!(
            "no event with {part} within {} s; the last: {last}",
            PATIENCE.as_secs()
        ))
    }
}

/// A command that runs.
pub struct Started {
    child: Child,
    words: String,
}

impl Started {
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(text)?;
        kill(Pid::from_raw(pid), signal).map_err(text)
    }

    /// Waits for its end.
    pub fn end(self) -> Result<Ended> {
        let output = self.child.wait_with_output().map_err(text)?;
        Ok(Ended {
            words: self.words,
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// A command that has ended.
pub struct Ended {
    words: String,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// That it ended with this code.
    pub fn with(self, code: i32) -> Result<Self> {
        match self.code {
            Some(found) if found == code => Ok(self),
            found => Err(format!(
                "{}: expected exit code {code}, got {found:?}\n{}{}",
                self.words, self.out, self.err
            )),
        }
    }

    /// That it printed this.
    pub fn printing(self, part: &str) -> Result<Self> {
        if self.out.contains(part) || self.err.contains(part) {
            return Ok(self);
        }
        Err(format!(
            "{}: expected to read {part:?} in:\n{}{}",
            self.words, self.out, self.err
        ))
    }
}
