//! The ways in which a lab ends, of which nothing may be left.

use crate::{
    client::{Result, SHORT, Test, block_on, client, deploy_agents, end_lab, start_lab, text},
    modes::LAUNCHER,
    remains::Belongings,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub const ALL: &[(&str, Test)] = &[
    ("a_killed_lab_process_leaves_nothing", || {
        nothing_is_left_after_killing(Part::LabProcess)
    }),
    ("a_killed_outer_process_leaves_nothing", || {
        nothing_is_left_after_killing(Part::Outer)
    }),
    ("a_killed_launcher_leaves_nothing", a_killed_launcher_leaves_nothing),
    ("an_orderly_shutdown_leaves_nothing", an_orderly_shutdown_leaves_nothing),
];

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    LabProcess,
    Outer,
}

fn nothing_is_left_after_killing(part: Part) -> Result<()> {
    block_on(SHORT, async {
        let lab = start_lab().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        deploy_agents(&infra, "infra", 3).await?;
        let mine = Belongings::of(std::process::id());
        if mine.titled("meshproof-agent:").count() < 3 || mine.namespaces() < 10 || mine.sockets() != 1 {
            return Err(format!(
                "expected agents and namespaces before the kill, found {mine:?}"
            ));
        }
        let victim = match part {
            Part::LabProcess => lab.pid(),
            Part::Outer => mine.processes.iter().map(|p| p.pid).min().unwrap_or_default(),
        };
        kill(Pid::from_raw(victim as i32), Signal::SIGKILL).map_err(text)?;
        lab.ended().await;
        mine.must_be_gone()
    })
}

fn an_orderly_shutdown_leaves_nothing() -> Result<()> {
    block_on(SHORT, async {
        let lab = start_lab().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        deploy_agents(&infra, "infra", 3).await?;
        let mine = Belongings::of(std::process::id());
        let begun = Instant::now();
        end_lab(lab).await?;
        if begun.elapsed() > Duration::from_secs(2) {
            return Err(format!("the shutdown took {:?}", begun.elapsed()));
        }
        mine.must_be_gone()
    })
}

fn a_killed_launcher_leaves_nothing() -> Result<()> {
    let mut launcher = Command::new("/proc/self/exe")
        .arg(LAUNCHER)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(text)?;
    let mut line = String::new();
    let stdout = launcher.stdout.take().ok_or("no stdout")?;
    BufReader::new(stdout).read_line(&mut line).map_err(text)?;
    line.trim()
        .parse::<u32>()
        .map_err(|error| format!("expected a pid, got {line:?}: {error}"))?;
    let mine = Belongings::of(launcher.id());
    launcher.kill().map_err(text)?;
    launcher.wait().map_err(text)?;
    mine.must_be_gone()
}
