//! What serves HTTP rules of policies, if anything does. An installation without Envoy, whose DNS proxy works
//! nevertheless, also has `enable-l7-proxy: "true"` and `envoy-deployment-mode: embedded`; so Envoy itself is asked.

use crate::{
    ProgressSink,
    client::ClusterClient,
    exec::{self, Container, ExecError},
};
use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// How many agents are asked: one may be on a node that is gone and still shown as running.
const ASKED: usize = 3;
/// When the next one is asked, unless one has answered.
const NEXT_AFTER: Duration = Duration::from_secs(1);
/// How long each may take; a version is printed at once.
const DEADLINE: Duration = Duration::from_secs(5);

/// What serves HTTP rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// Neither HTTP nor DNS rules: `enable-l7-proxy` is false.
    Off,
    /// DNS rules only: Envoy is absent.
    DnsOnly,
    /// Envoy inside the agent's pod.
    Embedded {
        /// Its version, as it says.
        version: String,
        /// The pod that was asked.
        pod: String,
    },
    /// Envoy in a DaemonSet of its own.
    External,
    /// Unknown.
    Unknown,
}

/// The answer of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// `.proxy` of its status is null: nothing of the kind runs.
    Nothing,
    /// By `.proxy` Envoy has its own pods, or its deployment mode is not given.
    Elsewhere,
    /// Envoy's version.
    Version(String),
    /// The image has no Envoy.
    NoEnvoy,
}

/// Asks the agents where the configuration does not decide.
pub(super) async fn find(
    client: &ClusterClient,
    namespace: &str,
    config: &BTreeMap<String, String>,
    agents: &[Pod],
    envoy_pods: usize,
    progress: &ProgressSink,
) -> Proxy {
    let key = |name: &str| config.get(name).map(String::as_str);
    if key("enable-l7-proxy") == Some("false") {
        return Proxy::Off;
    }
    if envoy_pods > 0 {
        return Proxy::External;
    }
    if key("external-envoy-proxy") == Some("true") {
        return Proxy::DnsOnly;
    }
    let running = agents.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let asked = running.take(ASKED).zip(0..).map(|(pod, number)| async move {
        // One answers for all; the next is asked when the one before is slow to.
        sleep(number * NEXT_AFTER).await;
        let name = pod.name_any();
        let answer = ask(client, namespace, &name).await;
        (name, answer)
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut why = "no Cilium agent runs".to_owned();
    while let Some((pod, answer)) = asked.next().await {
        match answer {
            Ok(Answer::Version(version)) => return Proxy::Embedded { version, pod },
            Ok(Answer::NoEnvoy | Answer::Elsewhere) => return Proxy::DnsOnly,
            Ok(Answer::Nothing) => return Proxy::Off,
            Err(error) => why = format!("{pod}: {error}"),
        }
    }
    progress.warning(format!(
        "{}: failed to find out whether an Envoy proxy serves HTTP rules ({why}), so l7-policy is not claimed; set it \
         in meshproof.yaml to claim it",
        client.name()
    ));
    Proxy::Unknown
}

async fn ask(client: &ClusterClient, namespace: &str, pod: &str) -> Result<Answer, ExecError> {
    let container = Container {
        namespace,
        pod,
        name: "cilium-agent",
    };
    let status = exec::run(client, &container, &["cilium-dbg", "status", "-o", "json"], DEADLINE).await?;
    if let Some(answer) = serde_json::from_slice(&status)
        .ok()
        .and_then(|status| from_status(&status))
    {
        return Ok(answer);
    }
    match exec::run(client, &container, &["cilium-envoy", "--version"], DEADLINE).await {
        Ok(output) => Ok(Answer::Version(version(&String::from_utf8_lossy(&output)))),
        Err(ExecError::NoSuchCommand(_)) => Ok(Answer::NoEnvoy),
        Err(error) => Err(error),
    }
}

/// The answer in the status itself; none when Envoy has to be asked. A status without the key means unknown.
fn from_status(status: &Value) -> Option<Answer> {
    match status.get("proxy")? {
        Value::Null => Some(Answer::Nothing),
        proxy => match proxy.get("envoy-deployment-mode").and_then(Value::as_str) {
            Some("embedded") => None,
            _ => Some(Answer::Elsewhere),
        },
    }
}

/// `cilium-envoy  version: abc/1.34.10/Distribution/RELEASE/BoringSSL` gives `1.34.10`; another text, its first line.
fn version(output: &str) -> String {
    let line = output
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim();
    let version = line.split_once("version:").and_then(|(_, rest)| rest.split('/').nth(1));
    version.unwrap_or(line).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_shows_that_nothing_runs_and_only_envoy_that_it_does() {
        assert_eq!(from_status(&json!({"proxy": null})), Some(Answer::Nothing));
        // As recorded in an installation without Envoy.
        let recorded = json!({"proxy": {"envoy-deployment-mode": "embedded", "port-range": "10000-20000"}});
        assert_eq!(from_status(&recorded), None);
        assert_eq!(from_status(&json!({})), None, "a missing key means unknown");
        assert_eq!(
            from_status(&json!({"proxy": {"envoy-deployment-mode": "external"}})),
            Some(Answer::Elsewhere)
        );
    }

    #[test]
    fn the_version_is_in_the_second_part() {
        let output = "\ncilium-envoy  version: 09a9f8c/1.34.10/Distribution/RELEASE/BoringSSL\n\n";
        assert_eq!(version(output), "1.34.10");
        assert_eq!(version("something else\n"), "something else");
    }
}
