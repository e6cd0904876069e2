//! One version of Cilium runs in a cluster: the one that is pinned, installed, and meant to run everywhere.

use super::{
    helm_release,
    reading::{HelmRelease, Reading},
};
use crate::kit::{image::Image, next_steps};
use async_trait::async_trait;
use meshproof_claims::{agent::Question, version::Range};
use meshproof_contract::{Check, CheckContext, CheckId, CheckText, ClusterName, Facts, Scope, Tally, Verdict};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Versions.
pub struct Versions;

#[async_trait]
impl Check for Versions {
    fn id(&self) -> CheckId {
        CheckId::from("gitops::versions")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "One version of Cilium runs on every node and in every component, and it is the pinned one",
            proves: "No upgrade stopped half-way and none happened by itself: every agent, the operator, \
                     clustermesh-apiserver and Hubble Relay have one version, that of the Helm release, within every \
                     range that the repository pins.",
            how: "`cilium-dbg status` of every agent says its version; images of pods, DaemonSets and Deployments are \
                  compared with it, and so are the release's chart and the pins: those of the files, and those of \
                  Flux's HelmRelease and OCIRepository in the cluster.",
            control: "At least one agent must have reported its version. An agent that does not answer makes it \
                      inconclusive.",
            when_red: "`kubectl --context CONTEXT -n kube-system get pods -l app.kubernetes.io/part-of=cilium -o wide` \
                       shows pods and ages, `kubectl --context CONTEXT -n kube-system rollout status ds/cilium` \
                       whether a rollout is stuck. A pin that differs: correct the file in the finding.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &["chart-pin-differs", "operator-version-differs"]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        if facts.cluster(cluster).is_none_or(|found| found.cilium.is_none()) {
            return Verdict::skipped(format!(
                "{cluster} has no ConfigMap cilium-config, so no Cilium to look at"
            ));
        }
        let reading = Reading::of(context, cluster).await;
        let mut tally = Tally::new();
        let mut running = agents(cluster, &reading, &mut tally);
        images(cluster, &reading, &mut running, &mut tally);
        judge(cluster, &reading, &facts, &running, &mut tally);
        if tally.has_findings() {
            let arguments = format!(
                "-n {} get pods -l app.kubernetes.io/part-of=cilium -o wide",
                reading.namespace
            );
            context.suggest(next_steps::kubectl(&facts, cluster, &arguments));
        }
        tally.verdict()
    }
}

/// Who runs which version.
type Running = BTreeMap<String, BTreeSet<String>>;

/// What the agents say of themselves.
fn agents(cluster: &ClusterName, reading: &Reading, tally: &mut Tally) -> Running {
    let mut running = Running::new();
    for (node, answers) in &reading.answers {
        let status = answers.iter().find(|(question, _)| *question == Question::Status);
        match status.map(|(_, answer)| answer) {
            Some(Ok(status)) => match of_status(status) {
                Some(version) => {
                    running
                        .entry(version)
                        .or_default()
                        .insert(format!("the agent on {node}"));
                }
                None => tally.unknown(format!("{cluster}: the agent on {node} does not tell its version")),
            },
            Some(Err(error)) => tally.unknown(error),
            None => {}
        }
    }
    running
}

/// `.cilium.msg` is `1.18.3 (v1.18.3-e4a9ed77)`; none while the agent has something else to say.
fn of_status(status: &Value) -> Option<String> {
    let word = status["cilium"]["msg"].as_str()?.split_whitespace().next()?;
    let word = word.trim_start_matches('v');
    word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.to_owned())
}

/// The version of an image that Cilium's release gives its own.
fn of_image(image: &str) -> Option<(&str, String)> {
    let image = Image::of(image);
    let tag = image.tag.filter(|_| image.is_of_release())?;
    Some((image.name, tag.trim_start_matches('v').to_owned()))
}

/// What DaemonSets, Deployments and agents' pods are made of.
fn images(cluster: &ClusterName, reading: &Reading, running: &mut Running, tally: &mut Tally) {
    let containers = |spec: &Value| spec["containers"].as_array().cloned().unwrap_or_default();
    match &reading.workloads {
        Ok(workloads) => {
            for object in workloads
                .iter()
                .filter(|object| object["metadata"]["namespace"] == *reading.namespace)
            {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let kind = object["kind"].as_str().unwrap_or_default();
                for container in containers(&object["spec"]["template"]["spec"]) {
                    let found = container["image"].as_str().and_then(of_image);
                    if let Some((_, version)) = found {
                        running.entry(version).or_default().insert(format!("{kind} {name}"));
                    }
                }
            }
        }
        Err(why) => tally.unknown(format!("{cluster}: {why}")),
    }
    for pod in reading.pods.iter().flatten() {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        for container in containers(&pod["spec"]) {
            if let Some(("cilium", version)) = container["image"].as_str().and_then(of_image) {
                running
                    .entry(version)
                    .or_default()
                    .insert(format!("the agent's pod on {node}"));
            }
        }
    }
}

fn judge(cluster: &ClusterName, reading: &Reading, facts: &Facts, running: &Running, tally: &mut Tally) {
    let Some((most, who)) = running.iter().max_by_key(|(_, who)| who.len()) else {
        tally.unknown(format!("{cluster}: nobody tells which version of Cilium runs"));
        return;
    };
    for (version, odd) in running.iter().filter(|(version, _)| *version != most) {
        let odd: Vec<_> = odd.iter().map(String::as_str).collect();
        tally.finding(
            format!("{cluster}: {}", odd.join(", ")),
            format!("version {most}, as {} others", who.len()),
            format!("version {version}"),
        );
    }
    if let HelmRelease::Found(release) = &reading.release {
        let installed = release.app_version.as_deref().unwrap_or(&release.chart_version);
        if installed.trim_start_matches('v') != most {
            tally.finding(
                format!("{cluster}: Helm release {}", release.name),
                format!(
                    "what runs is version {installed}, that of the chart of revision {}",
                    release.revision
                ),
                format!("version {most} runs"),
            );
        }
    }
    let applied = helm_release::pins(reading);
    let pins = facts.git.iter().flat_map(|git| git.pins_of(cluster));
    let pins: Vec<_> = pins.chain(&applied).collect();
    for pin in &pins {
        let (Some(range), Some(exact)) = (Range::parse(&pin.version), Range::parse(most)) else {
            continue;
        };
        if !range.meets(&exact) {
            tally.finding(
                format!("{cluster}: {} ({})", pin.by, pin.source),
                format!("the version that runs, {most}, is within `{}`", pin.version),
                "it is not: whoever installs by this pin next changes the version",
            );
        }
    }
    let agents = who.iter().filter(|who| who.starts_with("the agent on")).count();
    if agents > 0 {
        let pinned = match pins.len() {
            0 => String::new(),
            count => format!(", within {count} pins"),
        };
        tally.witness(format!(
            "{cluster}: {} agents and components run version {most}{pinned}",
            who.len()
        ));
    } else if !tally.has_unknown() {
        tally.unknown(format!("{cluster}: no agent told its version"));
    }
}
