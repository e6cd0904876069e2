//! `run --lab` for users without privileges, and where the kernel forbids namespaces. Each in a process of its own,
//! which gives up what it must not have.

use crate::{Result, text};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, setgid, setgroups, setuid},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

type Test = fn() -> Result<()>;

const UNPRIVILEGED: &str = "as-nobody";
const FORBIDDEN: &str = "without-namespaces";

pub const ALL: &[(&str, Test)] = &[
    ("the_lab_runs_without_privileges", || in_mode(UNPRIVILEGED)),
    ("forbidden_namespaces_are_an_error_with_advice", || in_mode(FORBIDDEN)),
];

/// What this executable does when it is started in a mode.
pub fn mode(word: &str) -> Option<Test> {
    match word {
        UNPRIVILEGED => Some(as_nobody),
        FORBIDDEN => Some(without_namespaces),
        _ => None,
    }
}

fn in_mode(mode: &str) -> Result<()> {
    let folder = tempfile::tempdir().map_err(text)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).map_err(text)?;
    // Another user may not see the folder in which this was built.
    for (from, to) in [(env!("CARGO_BIN_EXE_meshproof").into(), "meshproof"), (own()?, "test")] {
        fs::copy(&from, folder.path().join(to)).map_err(text)?;
    }
    let output = Command::new(folder.path().join("test"))
        .arg(mode)
        .current_dir(folder.path())
        .output()
        .map_err(text)?;
    if output.status.success() {
        return Ok(());
    }
    Err(printed(&output))
}

fn own() -> Result<PathBuf> {
    std::env::current_exe().map_err(text)
}

fn printed(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}\n{out}{err}", output.status)
}

fn run_on_the_lab() -> Result<Output> {
    let meshproof = Path::new("./meshproof");
    Command::new(meshproof)
        .args(["run", "--lab", "mesh::agents_ready", "http_other_cluster"])
        .output()
        .map_err(text)
}

fn as_nobody() -> Result<()> {
    if Uid::current().is_root() {
        setgroups(&[]).map_err(text)?;
        setgid(Gid::from_raw(65534)).map_err(text)?;
        setuid(Uid::from_raw(65534)).map_err(text)?;
    }
    let output = run_on_the_lab()?;
    match output.status.code() {
        Some(0) => Ok(()),
        _ => Err(printed(&output)),
    }
}

fn without_namespaces() -> Result<()> {
    let (uid, gid) = (Uid::current(), Gid::current());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(text)?;
    fs::write("/proc/self/setgroups", "deny").map_err(text)?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).map_err(text)?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).map_err(text)?;
    for kind in ["user", "net", "pid"] {
        fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "0").map_err(text)?;
    }
    let output = run_on_the_lab()?;
    let text = printed(&output);
    match output.status.code() {
        Some(3) if text.contains("sysctl") => Ok(()),
        _ => Err(format!("expected exit code 3 and advice, got {text}")),
    }
}
