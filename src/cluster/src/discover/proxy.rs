//! What serves HTTP rules of policies, if anything does. `enable-l7-proxy: "true"` and `envoy-deployment-mode: embedded` are there in an
//! installation without Envoy too, whose DNS proxy works all the same; so Envoy itself is asked.

use crate::{
    Progress,
    exec::{self, Container, ExecError},
    member::Member,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// How many agents are asked: one may be on a node that is gone and still shown as running.
const ASKED: usize = 3;
/// How long each may take; a version is told at once.
const DEADLINE: Duration = Duration::from_secs(5);

/// What serves HTTP rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// Neither HTTP nor DNS rules: `enable-l7-proxy` is false.
    Off,
    /// DNS rules only: there is no Envoy.
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
    /// It could not be told.
    Unknown,
}

/// What one agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// `.proxy` of its status is null: nothing of the kind runs.
    Nothing,
    /// `.proxy` says that Envoy has pods of its own, or does not say how it is deployed.
    Elsewhere,
    /// Envoy's version.
    Version(String),
    /// There is no Envoy in the image.
    NoEnvoy,
}

/// Finds out.
pub(super) async fn find(
    member: &Member,
    namespace: &str,
    config: &BTreeMap<String, String>,
    agents: &[Pod],
    envoy_pods: usize,
    progress: &Progress,
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
    let asked = running.take(ASKED).map(|pod| async {
        let name = pod.name_any();
        let said = ask(member, namespace, &name).await;
        (name, said)
    });
    let mut why = "no agent runs".to_owned();
    for (pod, said) in join_all(asked).await {
        match said {
            Ok(Said::Version(version)) => return Proxy::Embedded { version, pod },
            Ok(Said::NoEnvoy | Said::Elsewhere) => return Proxy::DnsOnly,
            Ok(Said::Nothing) => return Proxy::Off,
            Err(error) => why = format!("{pod}: {error}"),
        }
    }
    progress.warning(format!(
        "{}: whether an Envoy serves HTTP rules could not be told ({why}), so they are not claimed",
        member.name()
    ));
    Proxy::Unknown
}

async fn ask(member: &Member, namespace: &str, pod: &str) -> Result<Said, ExecError> {
    let container = Container {
        namespace,
        pod,
        name: "cilium-agent",
    };
    let status = exec::run(member, &container, &["cilium-dbg", "status", "-o", "json"], DEADLINE).await?;
    if let Some(said) = serde_json::from_slice(&status)
        .ok()
        .and_then(|status| from_status(&status))
    {
        return Ok(said);
    }
    match exec::run(member, &container, &["cilium-envoy", "--version"], DEADLINE).await {
        Ok(output) => Ok(Said::Version(version(&String::from_utf8_lossy(&output)))),
        Err(ExecError::NoSuchCommand(_)) => Ok(Said::NoEnvoy),
        Err(error) => Err(error),
    }
}

/// What the status tells by itself; none when Envoy has to be asked. A status without the key says nothing.
fn from_status(status: &Value) -> Option<Said> {
    match status.get("proxy")? {
        Value::Null => Some(Said::Nothing),
        proxy => match proxy.get("envoy-deployment-mode").and_then(Value::as_str) {
            Some("embedded") => None,
            _ => Some(Said::Elsewhere),
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
    let told = line.split_once("version:").and_then(|(_, rest)| rest.split('/').nth(1));
    told.unwrap_or(line).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_tells_that_nothing_runs_and_only_envoy_that_it_does() {
        assert_eq!(from_status(&json!({"proxy": null})), Some(Said::Nothing));
        // As recorded in an installation without Envoy.
        let recorded = json!({"proxy": {"envoy-deployment-mode": "embedded", "port-range": "10000-20000"}});
        assert_eq!(from_status(&recorded), None);
        assert_eq!(from_status(&json!({})), None, "a missing key means unknown");
        assert_eq!(
            from_status(&json!({"proxy": {"envoy-deployment-mode": "external"}})),
            Some(Said::Elsewhere)
        );
    }

    #[test]
    fn the_version_is_in_the_second_part() {
        let told = "\ncilium-envoy  version: 09a9f8c/1.34.10/Distribution/RELEASE/BoringSSL\n\n";
        assert_eq!(version(told), "1.34.10");
        assert_eq!(version("something else\n"), "something else");
    }
}
