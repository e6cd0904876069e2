//! The chain of every claim of a cluster, from the files to the agents.

use super::{
    chains::{Chains, Next, Sources, follow},
    helm_release,
    reading::{HelmRelease, Reading},
};
use crate::kit::next_steps;
use async_trait::async_trait;
use meshproof_claims::drift;
use meshproof_contract::{
    Chain, Check, CheckContext, CheckId, CheckText, ClusterName, Evidence, Facts, GitFacts, LinkKind, Scope, Tally,
    Verdict,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// The chain of every claim.
pub struct Claims;

#[async_trait]
impl Check for Claims {
    fn id(&self) -> CheckId {
        CheckId::from("gitops::claims")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "What Git says of Cilium is in the Helm release, in the objects and in every agent",
            proves: "No link between the repository and the running agents was forgotten: the bootstrap ran after the \
                     last change, nobody edited the objects, and every agent runs with the ConfigMap as it is.",
            how: "Helm values of the files (`--gitops`, `--values`) are compared with those of the Helm release in \
                  force; `cilium-config`, images, replicas, arguments and environment of the release's manifest with \
                  the objects; every key of `cilium-config` that an agent shows with `cilium-dbg config --all` and \
                  `cilium-dbg status` of each node. Values that the claim table does not know are compared and never \
                  shown. Without files the chain starts at Flux's HelmRelease, else at the release, without the right \
                  to read that at the objects; the evidence says so.",
            control: "At least one value of an agent must have been compared. An agent that does not answer, or a \
                      ConfigMap that cannot be read, makes it inconclusive.",
            when_red: "The finding names the first link that breaks, both values, and the command that closes it. \
                       `kubectl --context CONTEXT -n kube-system get configmap cilium-config -o yaml \
                       --show-managed-fields` shows who changed a key; agents read it only when they start: `kubectl \
                       --context CONTEXT -n kube-system rollout restart ds/cilium`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Cluster
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "agents-not-restarted",
            "cilium-config-edited",
            "node-config-differs",
            "release-newer-than-objects",
            "release-upgraded-by-hand",
            "values-newer-than-release",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let cluster = context.instance.from();
        let Some(cilium) = facts.cluster(cluster).and_then(|found| found.cilium.as_ref()) else {
            return Verdict::skipped(format!(
                "{cluster} has no ConfigMap cilium-config, so no Cilium to look at"
            ));
        };
        let reading = Reading::of(context, cluster).await;
        let next = next(&facts, cluster, &reading);
        // Files say it first; without any, what Flux has applied of them does.
        let files = facts.git.as_ref().filter(|git| git.of(cluster).next().is_some());
        let applied = match files {
            Some(_) => None,
            None => helm_release::stated(cluster, reading.as_ref()),
        };
        let git = files.or(applied.as_ref());
        let chains = follow(&Sources {
            cluster,
            git,
            reading: &reading,
            version: &cilium.version,
            next: &next,
        });
        let mut tally = Tally::new();
        context.note(where_it_starts(git, cluster, &reading));
        for (_, answer) in reading.answers.values().flatten() {
            if let Err(why) = answer {
                tally.unknown(why);
            }
        }
        judge(cluster, &chains, &mut tally);
        judge_release(cluster, &reading, &mut tally);
        judge_age(cluster, &reading, &next, &mut tally);
        let broken = chains.all.iter().filter_map(|chain| chain.broken.as_ref());
        let commands: BTreeSet<&str> = broken.map(|broken| broken.next.as_str()).collect();
        commands.into_iter().for_each(|command| context.suggest(command));
        for (path, _) in chains.unknown.iter().filter(|(_, meant)| meant.is_none()) {
            context.note(format!(
                "{path} is a value of the release that its chart does not know: Helm ignores it"
            ));
        }
        for chain in chains.all {
            context.evidence(Evidence::Chain(chain));
        }
        tally.verdict()
    }
}

/// From where on this cluster's chains are known.
fn where_it_starts(git: Option<&GitFacts>, cluster: &ClusterName, reading: &Reading) -> String {
    let helm = match &reading.release {
        HelmRelease::Found(release) => format!(
            "Helm release {}/{}, revision {}, chart {}",
            release.namespace, release.name, release.revision, release.chart_version
        ),
        HelmRelease::Absent => {
            "there is no Helm release of Cilium (Argo CD, inline manifests and `helm template` leave none)".to_owned()
        }
        HelmRelease::NotPermitted => {
            "the Helm release is not read: `meshproof rbac --helm-release` prints the Role that allows it".to_owned()
        }
        HelmRelease::Unreadable(why) => format!("the Helm release cannot be read: {why}"),
    };
    match git {
        Some(git) => format!("{cluster}: the chain starts at {}; {helm}", git.from),
        None => {
            format!("{cluster}: no file states its values (--gitops, --values), so the chain starts behind Git; {helm}")
        }
    }
}

fn next(facts: &Facts, cluster: &ClusterName, reading: &Reading) -> Next {
    let namespace = &reading.namespace;
    let context = facts
        .cluster(cluster)
        .map_or(cluster.as_str(), |found| found.context.as_str());
    let restart = next_steps::kubectl(facts, cluster, &format!("-n {namespace} rollout restart ds/cilium"));
    let (install, put_back) = match &reading.flux {
        Some(origin) => {
            let reconcile = format!(
                "flux --context {context} -n {} reconcile helmrelease {}",
                origin.namespace, origin.name
            );
            (format!("{reconcile} --with-source"), format!("{reconcile} --force"))
        }
        None => {
            let again = format!(
                "helm --kube-context {context} -n {namespace} get values cilium # then run the bootstrap again"
            );
            (again.clone(), again)
        }
    };
    Next {
        install,
        put_back,
        restart,
    }
}

/// One finding a cause: a key that several claims depend on is told once.
fn judge(cluster: &ClusterName, chains: &Chains, tally: &mut Tally) {
    chains.unread.iter().for_each(|why| tally.unknown(why));
    let mut told = BTreeSet::new();
    for chain in &chains.all {
        let Some(broken) = chain.broken.as_ref().filter(|broken| told.insert(broken.why.as_str())) else {
            continue;
        };
        let subject = match &chain.source {
            Some(source) => format!("{cluster} {} ({source})", chain.claim),
            None => format!("{cluster} {}", chain.claim),
        };
        tally.finding(
            subject,
            expected(chain, broken.at),
            format!("{}: {}", broken.at, broken.why),
        );
    }
    for (path, meant) in &chains.unknown {
        if let Some(meant) = meant {
            tally.finding(
                format!("{cluster} {path}"),
                "every value of the release is a key of its chart",
                format!("the chart has no such key, so Helm ignores it; {meant} is probably meant"),
            );
        }
    }
    if chains.compared > 0 {
        let whole = chains.all.iter().filter(|chain| chain.broken.is_none()).count();
        tally.witness(format!(
            "{cluster}: {whole} claims are the same in every link that was read; {} values of agents were compared",
            chains.compared
        ));
    } else if chains.unread.is_empty() {
        tally.unknown(format!("{cluster}: no agent showed what it runs with"));
    }
}

fn expected(chain: &Chain, at: LinkKind) -> String {
    let before = chain
        .links
        .iter()
        .rev()
        .find(|link| link.kind < at && link.value.is_some());
    match before {
        Some(link) => {
            let value = link.value.as_deref().unwrap_or_default();
            let place = link
                .place
                .as_deref()
                .map_or_else(String::new, |place| format!(" ({place})"));
            format!("`{value}`, as {} says{place}", link.kind)
        }
        None if at == LinkKind::Live => "what the release rendered".to_owned(),
        None => "what the objects say".to_owned(),
    }
}

fn judge_release(cluster: &ClusterName, reading: &Reading, tally: &mut Tally) {
    let Some(newer) = &reading.newer else { return };
    if newer.is_running {
        tally.unknown(format!(
            "{cluster}: Helm is upgrading Cilium to revision {}",
            newer.revision
        ));
        return;
    }
    tally.finding(
        format!("{cluster} Helm release of Cilium"),
        "the newest revision is the one in force",
        format!(
            "revision {} is {}: it never came into force",
            newer.revision, newer.status
        ),
    );
}

/// Agents read their ConfigMap when they start, so one that started before it changed may run with the older one.
fn judge_age(cluster: &ClusterName, reading: &Reading, next: &Next, tally: &mut Tally) {
    let (Ok(config), Ok(pods)) = (&reading.config, &reading.pods) else {
        return;
    };
    let Some(change) = drift::writer(config, &["f:data"]) else {
        return;
    };
    let Some(changed) = change.time.as_deref() else { return };
    let started = |pod: &Value| {
        let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let agent = statuses.into_iter().find(|status| status["name"] == "cilium-agent")?;
        agent["state"]["running"]["startedAt"].as_str().map(str::to_owned)
    };
    let older: Vec<String> = pods
        .iter()
        .filter(|pod| started(pod).is_some_and(|started| is_before(&started, changed)))
        .filter_map(|pod| Some(pod["spec"]["nodeName"].as_str()?.to_owned()))
        .collect();
    let starts: Vec<String> = pods.iter().filter_map(started).collect();
    // By whoever installs, it is a change that somebody wants in force.
    let by_hand = !matches!(change.manager.as_str(), "helm" | "helm-controller");
    if by_hand && !tally.has_findings() && is_as_installed_before(config, &reading.release, &starts) {
        return;
    }
    if !older.is_empty() {
        tally.finding(
            format!("{cluster} agents on {}", older.join(", ")),
            "every agent started after its ConfigMap changed",
            format!(
                "cilium-config was last changed by {change}, and they started before: what changed is not in force \
                 there; `{}`",
                next.restart
            ),
        );
    }
}

/// Whether the ConfigMap is again what the release rendered, and all agents started after that was installed: then
/// what changed meanwhile was taken back. What agents show has been compared before.
fn is_as_installed_before(config: &Value, release: &HelmRelease, starts: &[String]) -> bool {
    let HelmRelease::Found(release) = release else {
        return false;
    };
    let Some(deployed) = release.last_deployed.as_deref() else {
        return false;
    };
    let name = &config["metadata"]["name"];
    let objects = release.objects(&["ConfigMap"]).unwrap_or_default();
    let rendered = objects.iter().find(|object| object["metadata"]["name"] == *name);
    rendered.is_some_and(|rendered| rendered["data"] == config["data"])
        && !starts.iter().any(|started| is_before(started, deployed))
}

/// Whether one time is before another, in the seconds of which Kubernetes makes its times; both are RFC 3339.
fn is_before(one: &str, other: &str) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    time(one)
        .zip(time(other))
        .is_some_and(|(one, other)| one.as_second() < other.as_second())
}
