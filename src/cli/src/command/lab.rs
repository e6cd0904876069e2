//! `meshproof lab`: the lab by itself, for kubectl, for other programs and for runs in another terminal.

use crate::{
    args::LabCommand,
    fatal::Fatal,
    session::{
        lab::{known, launched_badly},
        signal::cancelled_by_signals,
    },
};
use anyhow::{Context, anyhow};
use meshproof_contract::Exit;
use meshproof_lab::{Control, ControlError, LabOptions, LabStatus, Lifetime, Registration, Topology, launch};
use std::fmt::Write as _;

/// Carries out `meshproof lab …`.
pub fn lab(command: &LabCommand) -> Result<Exit, Fatal> {
    super::runtime()?.block_on(async {
        if let LabCommand::Up { detach, nodes, faults } = command {
            return up(
                if *detach {
                    Lifetime::Detached
                } else {
                    Lifetime::Launcher
                },
                *nodes,
                faults,
            )
            .await;
        }
        let control = Control::find().await.map_err(not_running)?;
        match command {
            LabCommand::Up { .. } => unreachable!("started above"),
            LabCommand::Status => print!("{}", told(&control.status().await.map_err(not_running)?)),
            LabCommand::Down => control.stop().await.map_err(not_running)?,
            LabCommand::Inject { fault } => {
                known(fault)?;
                control.inject(fault).await.map_err(not_running)?;
            }
            LabCommand::Heal { fault } => {
                known(fault)?;
                control.heal(fault).await.map_err(not_running)?;
            }
        }
        Ok(Exit::Passed)
    })
}

async fn up(lifetime: Lifetime, nodes: u8, faults: &[String]) -> Result<Exit, Fatal> {
    for fault in faults {
        known(fault)?;
    }
    let cancel = cancelled_by_signals()
        .context("failed to watch for signals")
        .map_err(Fatal::environment)?;
    eprintln!("booting two clusters");
    let mut options = LabOptions {
        registration: Registration::WellKnown,
        lifetime,
        ..LabOptions::default()
    };
    options.lab.topology = Topology::with_nodes(nodes);
    let lab = launch(options).await.map_err(launched_badly)?;
    for fault in faults {
        lab.control().inject(fault).await.map_err(Fatal::environment)?;
        eprintln!("fault in force: {fault}");
    }
    println!("export KUBECONFIG={}", lab.kubeconfig_path().display());
    eprintln!(
        "contexts infra and apps; `meshproof run --infra-context infra --apps-context apps --image {}`",
        meshproof_lab::AGENT_IMAGE
    );
    if lifetime == Lifetime::Detached {
        eprintln!("running in the background; `meshproof lab down` ends it");
        return Ok(Exit::Passed);
    }
    eprintln!("Ctrl-C ends it");
    let died = tokio::select! {
        () = cancel.cancelled() => None,
        status = lab.ended() => Some(status),
    };
    match died {
        None => {
            lab.shutdown().await.map_err(Fatal::environment)?;
            Ok(Exit::Passed)
        }
        // `lab down` from another terminal is an orderly end, too.
        Some(Some(status)) if status.success() => Ok(Exit::Passed),
        Some(status) => {
            let how = status.map_or_else(String::new, |status| format!(" with {status}"));
            Err(Fatal::environment(anyhow!("the lab ended{how}; nothing of it is left")))
        }
    }
}

fn not_running(error: ControlError) -> Fatal {
    match error {
        ControlError::NotRunning => Fatal::environment(anyhow!("no lab is running; `meshproof lab up` starts one")),
        other => Fatal::environment(other),
    }
}

fn told(status: &LabStatus) -> String {
    let mut text = format!(
        "lab, process {}, up {} s\nKUBECONFIG={}\n",
        status.pid, status.uptime_seconds, status.kubeconfig
    );
    match status.faults.as_slice() {
        [] => text.push_str("no fault in force\n"),
        faults => {
            let _ = writeln!(text, "FAULTS in force: {}", faults.join(", "));
        }
    }
    for cluster in &status.clusters {
        let _ = writeln!(text, "\n{} {}", cluster.name, cluster.server);
        for node in &cluster.nodes {
            let ready = if node.ready { "Ready" } else { "NotReady" };
            let _ = writeln!(text, "  {:<10} {:<15} {ready}", node.name, node.address);
            for pod in &node.pods {
                let address = pod.address.as_deref().unwrap_or("-");
                let ready = if pod.ready { "ready" } else { "not ready" };
                let _ = writeln!(text, "    {:<56} {address:<15} {ready:<9} {}", pod.name, pod.state);
            }
        }
    }
    text
}
