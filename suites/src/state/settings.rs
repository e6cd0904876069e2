//! Every agent of a cluster runs with the same settings, those of its ConfigMap.

use super::{
    cilium,
    deviation::{Counts, Difference, Seen, conclude},
    look::Look,
};
use async_trait::async_trait;
use meshproof_contract::{
    Check, CheckContext, CheckId, CheckText, CiliumQuery, Needs, NodeName, Scope, Tally, Verdict,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Settings of every agent against `cilium-config` and the other agents.
pub struct Settings;

const COMMAND: &str = "cilium-dbg config --all";
const STATUS: &str = "cilium-dbg status --verbose";

/// What must be the same on all nodes for a mesh to work as one: the agent's name of a setting (a field of its source,
/// semantics E1), and the key of `cilium-config`. Settings that agents change by themselves, and those that nodes may
/// have of their own (devices, sizes of maps), are not among them.
const SETTINGS: [(&str, &str); 23] = [
    ("ClusterID", "cluster-id"),
    ("ClusterName", "cluster-name"),
    (
        "EnableCiliumClusterwideNetworkPolicy",
        "enable-cilium-clusterwide-network-policy",
    ),
    ("EnableCiliumNetworkPolicy", "enable-cilium-network-policy"),
    ("EnableEncryptionStrictMode", "enable-encryption-strict-mode"),
    ("EnableHostFirewall", "enable-host-firewall"),
    ("EnableIPSec", "enable-ipsec"),
    ("EnableIPv4", "enable-ipv4"),
    ("EnableIPv6", "enable-ipv6"),
    ("EnableK8sNetworkPolicy", "enable-k8s-networkpolicy"),
    ("EnableL7Proxy", "enable-l7-proxy"),
    ("EnableNonDefaultDenyPolicies", "enable-non-default-deny-policies"),
    ("EnablePolicy", "enable-policy"),
    ("EnableWireguard", "enable-wireguard"),
    ("EncryptNode", "encrypt-node"),
    ("EncryptionStrictModeCIDR", "encryption-strict-mode-cidr"),
    ("PolicyAuditMode", "policy-audit-mode"),
    ("RoutingMode", "routing-mode"),
    // What is in force now, where the others are from the agent's start (semantics A46).
    ("policy-enforcement", "enable-policy"),
    ("options.DropNotification", "bpf-events-drop-enabled"),
    ("options.PolicyAuditMode", "policy-audit-mode"),
    ("options.PolicyVerdictNotification", "bpf-events-policy-verdict-enabled"),
    ("options.TraceNotification", "bpf-events-trace-enabled"),
];

/// Where an agent prints what can be changed while it runs.
const OPTIONS: &str = "options";

/// The same of what agents report of themselves (`cilium-dbg status -o json`): where it stands, and the key.
const REPORTED: [(&str, &str); 6] = [
    ("/hubble/state", "enable-hubble"),
    ("/kube-proxy-replacement/mode", "kube-proxy-replacement"),
    (
        "/kube-proxy-replacement/features/nodePort/algorithm",
        "bpf-lb-algorithm",
    ),
    ("/kube-proxy-replacement/features/nodePort/mode", "bpf-lb-mode"),
    ("/masquerading/mode", "enable-bpf-masquerade"),
    ("/routing/tunnel-protocol", "tunnel-protocol"),
];

#[async_trait]
impl Check for Settings {
    fn id(&self) -> CheckId {
        CheckId::from("state::settings")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "Every agent of a cluster runs with the settings of cilium-config, like its neighbours",
            proves: "No node enforces policies, encrypts, routes, balances or observes otherwise than the ConfigMap \
                     says and the other nodes do: by a CiliumNodeConfig, by an agent that was not restarted after a \
                     change, or by a change at run time.",
            how: "`cilium-dbg config --all -o json` and `status -o json` of every agent (16 of a larger cluster, drawn \
                  by `--sample-seed`) are compared with `cilium-config` and with what most agents have: policy, \
                  encryption, routing, load balancing, masquerading, Hubble, address families, name and id of the \
                  cluster, and all options that can be changed at run time. A difference is read again after \
                  `thresholds.propagation` (default 10 s).",
            control: "At least one setting must have been compared. An agent that does not answer makes it \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system get ciliumnodeconfigs -o yaml` shows settings of \
                       single nodes. Agents read cilium-config only when they start: `kubectl --context CONTEXT -n \
                       kube-system rollout restart ds/cilium`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn needs(&self) -> Needs {
        Needs::default()
    }
    fn faults(&self) -> &'static [&'static str] {
        &["agent-option-changed", "agent-settings-differ"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let config = match cilium(context, &facts) {
            Ok(cilium) => &cilium.config,
            Err(verdict) => return verdict,
        };
        conclude(context, |look, tally| compare(context, config, look, tally)).await
    }
}

fn compare(context: &CheckContext, config: &BTreeMap<String, String>, look: &Look, tally: &mut Tally) -> Seen {
    let mut seen = Seen::of("settings of agents");
    let agents = match look.cluster(context.instance.from()) {
        Ok(look) => look,
        Err(why) => {
            tally.unknown(why);
            return seen;
        }
    };
    let settings = agents.answers(CiliumQuery::Configuration, tally);
    for (field, key) in SETTINGS {
        let have = settings
            .iter()
            .filter_map(|(node, output)| Some((*node, value(output, field)?)));
        alike(
            COMMAND,
            field,
            config.get(key).map(|text| (key, normal(text))),
            have.collect(),
            &mut seen,
        );
    }
    let names: BTreeSet<&str> = settings.iter().flat_map(|(_, output)| options(output)).collect();
    for name in names {
        let option = format!("{OPTIONS}.{name}");
        if SETTINGS.iter().any(|(known, _)| *known == option) {
            continue;
        }
        let have = settings
            .iter()
            .filter_map(|(node, output)| Some((*node, value(output, &option)?)));
        alike(COMMAND, &option, None, have.collect(), &mut seen);
    }
    if seen.compared == 0 {
        tally.unknown("no agent prints a setting that is known here");
    }
    let reports = agents.answers(CiliumQuery::Status, tally);
    for (path, key) in REPORTED {
        let have = reports
            .iter()
            .filter_map(|(node, output)| Some((*node, reported(output, path)?)));
        let configured = config.get(key).map(|text| (key, reported_as(text)));
        alike(
            STATUS,
            path.trim_start_matches('/'),
            configured,
            have.collect(),
            &mut seen,
        );
    }
    seen
}

/// What can be changed at run time (`cilium-dbg config NAME=VALUE`), and is new endpoints' from then on.
fn options(output: &Value) -> impl Iterator<Item = &str> {
    let options = output[OPTIONS].as_object().into_iter().flatten();
    options.map(|(name, _)| name.as_str())
}

/// Compares what agents have of one setting with the key of `cilium-config` if it is there, else with each other.
fn alike(
    command: &'static str,
    setting: &str,
    configured: Option<(&str, String)>,
    have: Vec<(&NodeName, String)>,
    seen: &mut Seen,
) {
    let most = most(have.iter().map(|(_, value)| value.as_str()));
    for (node, value) in &have {
        seen.compared += 1;
        let expected = match (&configured, &most) {
            (Some((key, configured)), _) if configured != value => {
                format!("`{configured}`, as `{key}` of cilium-config")
            }
            (None, Some(most)) if most != value => format!("`{most}`, as most agents have"),
            // Of two nobody can say which is right.
            (None, None) => "the same on every agent of the cluster".to_owned(),
            _ => continue,
        };
        let difference = Difference {
            subject: format!("setting {setting}"),
            expected,
            observed: format!("`{value}`"),
            version: String::new(),
            counts: Counts::Twice,
        };
        seen.on(node, command, difference);
    }
}

/// What an agent reports, in the words of [`reported_as`]; none if it does not.
fn reported(status: &Value, path: &str) -> Option<String> {
    let text = status.pointer(path)?.as_str().filter(|text| !text.is_empty())?;
    Some(match (path, text) {
        // It observes; how well is no setting.
        ("/hubble/state", "Ok" | "Warning" | "Failure") => "true".to_owned(),
        _ => reported_as(text),
    })
}

/// Words of status and ConfigMap in one spelling: `Maglev` and `maglev`, `BPF` and `true`.
fn reported_as(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "bpf" => "true".to_owned(),
        "iptables" | "disabled" => "false".to_owned(),
        other => other.to_owned(),
    }
}

/// A setting as an agent prints it; none if this version does not have it.
fn value(output: &Value, field: &str) -> Option<String> {
    let value = match field.split_once('.') {
        Some((group, name)) => &output[group][name],
        None => &output[field],
    };
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(normal(value)),
        _ => None,
    }
}

/// `Enabled` and `TRUE` as `true`.
fn normal(text: &str) -> String {
    match text.to_ascii_lowercase().as_str() {
        "enabled" => "true".to_owned(),
        "disabled" => "false".to_owned(),
        "true" | "false" => text.to_ascii_lowercase(),
        _ => text.to_owned(),
    }
}

/// What more than half of them are.
fn most<'a>(values: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let all = values.clone().count();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let (value, _) = counts.into_iter().find(|(_, count)| count * 2 > all)?;
    Some(value.to_owned())
}
