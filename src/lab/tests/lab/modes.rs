//! Hidden modes of this executable, for tests that need a process of another kind.

use crate::{
    client::{
        Result, SHORT, Test, address, all_connected, block_on, client, deploy_agents, end_lab, reach, start_lab, text,
    },
    remains::Belongings,
};
use meshproof_lab::{Control, ControlError, LabIsolation, LabOptions, LaunchError, Lifetime, Registration, launch};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use std::process::{Command, ExitCode};

pub const UNPRIVILEGED: &str = "as-nobody";
pub const FORBIDDEN: &str = "without-namespaces";
pub const LAUNCHER: &str = "launch-and-wait";

pub const ALL: &[(&str, Test)] = &[
    ("it_works_without_privileges", || in_mode(UNPRIVILEGED)),
    ("forbidden_namespaces_are_a_typed_error", || in_mode(FORBIDDEN)),
];

/// Runs this executable in one of its hidden modes, which says what went wrong on stderr.
fn in_mode(mode: &str) -> Result<()> {
    let output = Command::new("/proc/self/exe").arg(mode).output().map_err(text)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}: {stderr}", output.status))
    }
}

fn conclude(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// A lab in a user namespace, for a user without privileges if this one has some.
pub fn as_nobody() -> ExitCode {
    if Uid::current().is_root() {
        let nobody = || -> nix::Result<()> {
            setgroups(&[])?;
            setgid(Gid::from_raw(65534))?;
            setuid(Uid::from_raw(65534))
        };
        if let Err(error) = nobody() {
            return conclude(Err(format!("failed to become nobody: {error}")));
        }
        // Changing the user makes a process undumpable, and its /proc entries root's.
        let _ = nix::sys::prctl::set_dumpable(true);
    }
    conclude(block_on(SHORT, async {
        let lab = launch(LabOptions {
            isolation: LabIsolation::UserNamespace,
            ..LabOptions::default()
        })
        .await
        .map_err(text)?;
        let kubeconfig = std::fs::read_to_string(lab.kubeconfig_path()).map_err(text)?;
        let infra = client(&kubeconfig, "infra").await?;
        let pods = deploy_agents(&infra, "infra", 3).await?;
        let everybody: Vec<_> = pods.iter().map(address).collect();
        let outcomes = reach(&infra, &pods[0], &everybody).await?;
        if !all_connected(&outcomes) {
            return Err(format!("expected three answers, got {outcomes:?}"));
        }
        let mine = Belongings::of(std::process::id());
        end_lab(lab).await?;
        mine.must_be_gone()?;
        find_and_stop().await
    }))
}

/// In a user namespace that allows no further ones, a lab must be refused with advice.
pub fn without_namespaces() -> ExitCode {
    use nix::sched::{CloneFlags, unshare};
    let forbid = || -> std::io::Result<()> {
        let (uid, gid) = (Uid::current(), Gid::current());
        unshare(CloneFlags::CLONE_NEWUSER)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        for kind in ["user", "net", "pid"] {
            std::fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "0")?;
        }
        Ok(())
    };
    if let Err(error) = forbid() {
        return conclude(Err(format!("failed to forbid namespaces: {error}")));
    }
    conclude(block_on(SHORT, async {
        match launch(LabOptions::default()).await {
            Err(LaunchError::Forbidden(why)) if why.contains("sysctl") => Ok(()),
            Err(other) => Err(format!("expected Forbidden with advice, got {other:?}")),
            Ok(_) => Err("expected Forbidden, got a lab".to_owned()),
        }
    }))
}

/// Starts a lab, says so on stdout, and waits for ever.
pub fn launch_and_wait() -> ExitCode {
    conclude(block_on(SHORT, async {
        let lab = start_lab().await?;
        println!("{}", lab.pid());
        lab.ended().await;
        Err("the lab ended".to_owned())
    }))
}

/// A lab that goes on without its launcher, and is found by its user.
async fn find_and_stop() -> Result<()> {
    let options = || LabOptions {
        isolation: LabIsolation::UserNamespace,
        registration: Registration::WellKnown,
        lifetime: Lifetime::Detached,
        ..LabOptions::default()
    };
    let lab = launch(options()).await.map_err(text)?;
    let mine = Belongings::of(std::process::id());
    drop(lab);
    match launch(options()).await {
        Err(LaunchError::AlreadyRunning) => {}
        other => return Err(format!("a second lab should be refused, got {other:?}")),
    }
    let found = Control::find().await.map_err(text)?;
    let status = found.status().await.map_err(text)?;
    if status.clusters.len() != 2 {
        return Err(format!("expected two clusters, got {status:?}"));
    }
    found.stop().await.map_err(text)?;
    mine.must_be_gone()?;
    match Control::find().await {
        Err(ControlError::NotRunning) => Ok(()),
        other => Err(format!("expected that no lab runs any more, got {other:?}")),
    }
}
