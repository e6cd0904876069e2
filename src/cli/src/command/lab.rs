//! `meshproof lab`: the lab by itself, for kubectl, for other programs and for runs in another terminal.

use crate::{
    args::LabCommand,
    cli_error::CliError,
    runtime::runtime,
    session::{
        lab::{self, known},
        signal::cancelled_by_signals,
    },
};
use anyhow::anyhow;
use meshproof_claims::{Repository, Request};
use meshproof_contract::Exit;
use meshproof_lab::{Control, ControlError, LabOptions, LabStatus, Lifetime, Registration, Topology, launch};
use std::fmt::Write as _;

/// Carries out `meshproof lab …`.
pub fn lab(command: &LabCommand) -> Result<Exit, CliError> {
    runtime()?.block_on(async {
        match command {
            LabCommand::Up {
                detach,
                nodes,
                profile,
                gitops,
                values,
                faults,
            } => {
                let request = Request {
                    root: gitops.clone().unwrap_or_else(|| ".".into()),
                    values: values.clone(),
                };
                let installations = if gitops.is_some() || !values.is_empty() {
                    let repository = Repository::read(request, gitops.is_some()).map_err(CliError::usage)?;
                    repository.installations()
                } else {
                    Vec::new()
                };
                let topology = Topology::with_nodes(*nodes).configured(lab::profile(*profile));
                let lifetime = if *detach {
                    Lifetime::Detached
                } else {
                    Lifetime::Launcher
                };
                return up(
                    lifetime,
                    lab::installed(topology, installations, |line| eprintln!("{line}"))?,
                    faults,
                )
                .await;
            }
            LabCommand::Status => print!("{}", text(&control().await?.status().await.map_err(failed)?)),
            LabCommand::Down => control().await?.stop().await.map_err(failed)?,
            LabCommand::Inject { fault } => {
                let control = control().await?;
                known(fault)?;
                control.inject(fault).await.map_err(failed)?;
            }
            LabCommand::Heal { fault } => {
                let control = control().await?;
                known(fault)?;
                control.heal(fault).await.map_err(failed)?;
            }
        }
        Ok(Exit::Passed)
    })
}

async fn control() -> Result<Control, CliError> {
    Control::find().await.map_err(failed)
}

async fn up(lifetime: Lifetime, topology: Topology, faults: &[String]) -> Result<Exit, CliError> {
    for fault in faults {
        known(fault)?;
    }
    let cancel = cancelled_by_signals()?;
    eprintln!("booting two clusters");
    let mut options = LabOptions {
        registration: Registration::WellKnown,
        lifetime,
        ..LabOptions::default()
    };
    options.lab.topology = topology;
    let lab = launch(options).await.map_err(CliError::environment)?;
    for fault in faults {
        lab.control().inject(fault).await.map_err(CliError::environment)?;
        eprintln!("injected fault: {fault}");
    }
    println!("export KUBECONFIG={}", lab.kubeconfig_path().display());
    eprintln!(
        "contexts infra and apps; `meshproof run --infra-context infra --apps-context apps --image {}` runs on them",
        meshproof_lab::AGENT_IMAGE
    );
    if lifetime == Lifetime::Detached {
        eprintln!("running in the background; `meshproof lab down` stops it");
        return Ok(Exit::Passed);
    }
    eprintln!("running; Ctrl-C stops it");
    let died = tokio::select! {
        () = cancel.cancelled() => None,
        status = lab.ended() => Some(status),
    };
    match died {
        None => {
            lab.shutdown().await.map_err(CliError::environment)?;
            Ok(Exit::Passed)
        }
        // `lab down` from another terminal is an orderly end, too.
        Some(Some(status)) if status.success() => Ok(Exit::Passed),
        Some(status) => {
            let how = status.map_or_else(String::new, |status| format!(" ({status})"));
            Err(CliError::environment(anyhow!(
                "the lab exited unexpectedly{how}; nothing of it is left"
            )))
        }
    }
}

fn failed(error: ControlError) -> CliError {
    match error {
        ControlError::NotRunning => CliError::environment(anyhow!("no lab is running; `meshproof lab up` starts one")),
        other => CliError::environment(other),
    }
}

fn text(status: &LabStatus) -> String {
    let mut text = format!(
        "lab, process {}, up {} s\nKUBECONFIG={}\n",
        status.pid, status.uptime_seconds, status.kubeconfig
    );
    match status.faults.as_slice() {
        [] => text.push_str("no fault injected\n"),
        faults => {
            let _ = writeln!(text, "INJECTED FAULTS: {}", faults.join(", "));
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
