//! Commands in the agent's container: `cilium-dbg` (and its old name `cilium`), `cilium-health`, `hubble`.

mod answer;
mod hubble;
mod line;

use std::sync::Arc;

pub(super) use answer::Answer;
pub(super) use line::{CommandLine, Format, UsageError};

use super::{
    agent::Agent,
    gather::Gatherer,
    output::{
        address, configuration, encryption, endpoint, health, metrics, node, policy, service, status, status_text,
        version,
    },
    pods::CiliumPods,
    troubleshoot,
};
use crate::system::SystemContainer;
use serde_json::json;

/// The kernel that the outputs name: the one of the machine that the lab runs on.
pub(super) fn kernel_version() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().split('-').next().unwrap_or_default().to_owned()
}

/// The version of Envoy that Cilium 1.18.3 comes with.
const ENVOY: &str = "1.34.10";

/// Runs a command; none if the image has no such executable.
pub(super) async fn answer(pods: &CiliumPods, container: &SystemContainer, argv: &[String]) -> Option<Answer> {
    let (program, arguments) = argv.split_first()?;
    let program = program.rsplit('/').next()?;
    if !matches!(
        program,
        "cilium-dbg" | "cilium" | "cilium-envoy" | "cilium-health" | "hubble"
    ) {
        return None;
    }
    if program == "cilium-envoy" {
        return container.lab.topology.settings().envoy.then(|| envoy(arguments));
    }
    let Some(agent) = pods.agents.of(container.node.name()) else {
        let message = "Error: Cannot get status: Get \"http://localhost/v1/healthz\": dial unix \
                       /var/run/cilium/cilium.sock: connect: no such file or directory\nIs the agent running?\n";
        return Some(Answer::failed(message));
    };
    let gatherer = Gatherer {
        pods,
        container,
        agent: &agent,
    };
    let answered = match program {
        "hubble" => hubble::answer(&gatherer, arguments).await,
        "cilium-health" => cilium_health(container, &agent, arguments),
        _ => cilium_dbg(&gatherer, container, arguments).await,
    };
    Some(answered.unwrap_or_else(|error| error.answer(program)))
}

/// Envoy's own executable: the lab's proxy stands for it, and says so.
fn envoy(arguments: &[String]) -> Answer {
    match arguments {
        [only] if only == "--version" => Answer::text(format!(
            "\ncilium-envoy  version: lab/{ENVOY}/Clean/RELEASE/BoringSSL\n\n"
        )),
        _ => Answer::failed("cilium-envoy: only --version is known here\n"),
    }
}

async fn cilium_dbg(
    gatherer: &Gatherer<'_>,
    container: &SystemContainer,
    arguments: &[String],
) -> Result<Answer, UsageError> {
    let line = CommandLine::parse(arguments)?;
    let words: Vec<_> = line.words().collect();
    match words.as_slice() {
        ["version"] => {
            line.only(&[])?;
            let version = version(&container.lab.topology.settings());
            return Ok(Answer::text(format!("Client: {version}\nDaemon: {version}\n")));
        }
        ["troubleshoot", "clustermesh", ..] => {
            line.only(&["include-local"])?;
            return Ok(Answer::text(troubleshoot::clustermesh(gatherer.pods, container).await));
        }
        _ => {}
    }
    let view = gatherer.view().await;
    let flags: &[&str] = match words.as_slice() {
        ["status"] => &[
            "output",
            "verbose",
            "brief",
            "all-addresses",
            "all-controllers",
            "all-health",
            "all-nodes",
        ],
        ["encrypt" | "encryption", "status"] => &["output"],
        ["debuginfo"] => &["output", "file-per-command", "archive", "filename"],
        ["endpoint" | "ep", "list" | "ls"] => &["output", "no-headers"],
        ["service" | "svc", "list" | "ls"] => &["output", "clustermesh-affinity"],
        ["config"] => &["output", "all"],
        ["bpf", "lb", "list" | "ls"] => &["output", "frontends", "revnat", "backends"],
        _ => &["output"],
    };
    line.only(flags)?;
    let format = line.format("output")?;
    let print = |json: serde_json::Value, text: &dyn Fn() -> String| match format {
        Format::Json => Answer::json(&json),
        Format::Text => Answer::text(text()),
    };
    let answer = match words.as_slice() {
        ["status"] if line.has("brief") => Answer::text("OK\n".to_owned()),
        ["status"] => print(status::status(&view), &|| status_text::text(&view)),
        ["encrypt" | "encryption", "status"] => {
            let text = || encryption::encrypt_status_text(&view.encryption);
            print(encryption::encrypt_status(&view.encryption), &text)
        }
        ["debuginfo"] => match format {
            Format::Json => Answer::json(&json!({
                "cilium-version": version(&view.settings),
                "encryption": encryption::debuginfo(&view.encryption),
                "kernel-version": kernel_version(),
            })),
            Format::Text => Answer::text(format!("# Cilium debug information\n\n{}", status_text::text(&view))),
        },
        ["endpoint" | "ep", "list" | "ls"] => print(endpoint::list(&view), &|| endpoint::text(&view)),
        ["service" | "svc", "list" | "ls"] => print(service::list(&view.services), &|| service::text(&view.services)),
        ["policy", "get"] => print(policy::get(&view.policy), &|| policy::text(&view.policy)),
        ["fqdn", "cache", "list" | "ls"] => print(policy::names(&view.policy), &|| policy::names_text(&view.policy)),
        ["node", "list" | "ls"] => print(node::list(&view.nodes), &|| node::text(&view.nodes)),
        ["identity", "list" | "ls"] => print(address::identities(&view.identities), &|| {
            address::identities_text(&view.identities)
        }),
        ["ip", "list" | "ls"] => print(address::list(&view.addresses), &|| address::text(&view)),
        ["bpf", "lb", "list" | "ls"] => print(service::slots(&view.services), &|| service::text(&view.services)),
        ["bpf", "ipcache", "list" | "ls"] => print(address::ipcache(&view), &|| address::text(&view)),
        ["config"] => print(configuration::all(&view), &|| configuration::text(&view)),
        ["metrics", "list" | "ls"] => {
            let list = metrics::list(&view);
            print(list.clone(), &|| metrics::text(&list))
        }
        _ => return Err(UsageError::unknown_command(&words)),
    };
    Ok(answer)
}

fn cilium_health(container: &SystemContainer, agent: &Arc<Agent>, arguments: &[String]) -> Result<Answer, UsageError> {
    let line = CommandLine::parse(arguments)?;
    let words: Vec<_> = line.words().collect();
    if words != ["status"] {
        return Err(UsageError::unknown_command(&words));
    }
    line.only(&["output", "probe", "verbose", "succinct"])?;
    let local = format!("{}/{}", container.cluster.name(), container.node.name());
    let report = agent.findings.report();
    Ok(match line.format("output")? {
        Format::Json => Answer::json(&health::status(&report, &local)),
        Format::Text => Answer::text(health::text(&report, &local)),
    })
}
