//! A change made in one cluster is really seen in the other: a global service gets backends there, and loses them again.

mod watch;

use crate::kit::cilium::remotes;
use crate::kit::cilium::namespace;
use crate::kit::matrix::{self, SCENARIO};
use crate::kit::{next_steps, unique_name};
use async_trait::async_trait;
use meshproof_contract::{
    Admission, AgentFacts, Check, CheckContext, CheckId, CheckText, CiliumQuery, ClaimKind, Needs,
    ObjectRef, Scope, Tally, Target, Unit, Verdict, port,
};
use serde_json::{Value, json};
use std::time::Duration;
use watch::{Seen, Watch, describe, never, tell};

/// Propagation of a change from `to` to `from`, as the pods of `from` feel it.
pub struct ChangePropagates;

/// A global service on the agents' HTTP port, the same on both sides, so that only the other side can have backends.
fn manifest(namespace: &str, name: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"service.cilium.io/global": "true"}},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": port::HTTP, "targetPort": port::HTTP, "protocol": "TCP"}]},
    })
}

fn service(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

#[async_trait]
impl Check for ChangePropagates {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::change_propagates")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A change in the other cluster is felt here in time (10 s), and so is its removal",
            proves: "The mesh is alive now: state of the other cluster really arrives in the data path of every node of this one. No status can stand in for that, since agents go on saying ready for ever after the other cluster is gone.",
            how: "A global service (annotation service.cilium.io/global) with a name drawn at random is created here with a selector that selects nothing, then in the other cluster with the servers there behind it. The client on every node asks the \
                  service's cluster IP here until a pod of the other cluster answers, by its identity. Then the other cluster's service is deleted, and the clients ask until nothing answers any more. Each must hold for two reads, within `propagation` of the thresholds (10 s by default); both times are recorded, and after three times that the change counts as never felt. \
                  The instance in the other direction does it the other way round.",
            control: "Before the other cluster's service exists, the same clients get no answer at the same address; and what answers must be a pod of the other cluster. Agents' counts of shared services are left as evidence and prove nothing.",
            when_red: "Never felt: mesh::kvstoremesh_ready of this cluster, then `kubectl --context CONTEXT -n kube-system logs deploy/clustermesh-apiserver -c apiserver --tail=50` in the other one. Felt on some nodes only: `cilium-dbg service list` and \
                       `cilium-dbg status` in the agents named. Known but silent: the path, see connectivity::http_other_cluster. Still answering after removal: stale backends, `cilium-dbg bpf lb list`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            claim: Some(ClaimKind::ClusterMesh),
            mutates: true,
            admission: Admission::Shared,
        }
    }
    fn faults(&self) -> &'static [&'static str] {
        &[
            "mesh-propagation-stopped",
            "mesh-propagation-slow",
            "global-remote-backends-missing",
            "global-backends-never-removed",
        ]
    }

    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let (from, to) = (context.instance.from(), context.instance.to());
        let (near, far) = match remotes::members(&facts, from, to) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let clients = matrix::agents(&facts, from, "client");
        if clients.is_empty() || matrix::agents(&facts, to, "server").is_empty() {
            return Verdict::inconclusive(format!(
                "it takes a ready agent `client` in {from} and `server` in {to}, and one of them is missing"
            ));
        }
        let Some(server) = facts.service(to, "server") else {
            return Verdict::inconclusive(format!(
                "service `server` of the scenario is not in {to}, so what selects its pods is unknown"
            ));
        };
        let namespace = server.namespace.clone();
        let selector = match context.environment.get(to, &service(&namespace, &server.name)).await {
            Ok(found) => found
                .and_then(|s| s.pointer("/spec/selector").cloned())
                .filter(|s| s.is_object()),
            Err(error) => {
                return Verdict::inconclusive(format!("what selects the servers of {to} could not be read: {error}"));
            }
        };
        let Some(selector) = selector else {
            return Verdict::inconclusive(format!(
                "service `server` in {to} has no selector, so its pods cannot be put behind another service"
            ));
        };
        for (cluster, cilium) in [(from, near), (to, far)] {
            if let Err(verdict) = namespace::is_global(context, cluster, cilium, &namespace).await {
                return verdict;
            }
        }
        let name = unique_name::label("change");
        let mut tally = Tally::new();
        for missing in facts
            .missing_agents
            .iter()
            .filter(|m| &m.cluster == from && m.workload == "client")
        {
            let node = missing.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
            tally.unknown(format!(
                "agent `client`{node} in {from} does not run: {}",
                missing.state
            ));
        }
        observe(context, &clients, (&namespace, &name), &selector, &mut tally).await;
        for cluster in [from, to] {
            if let Err(error) = context.environment.delete(cluster, &service(&namespace, &name)).await {
                context.note(format!(
                    "service {name} is left in {cluster} until the run's end: {error}"
                ));
            }
        }
        if tally.has_findings() {
            let logs = "-n kube-system logs deploy/clustermesh-apiserver --all-containers --tail=50";
            context.suggest(next_steps::kubectl(&facts, from, logs));
            context.suggest(next_steps::kubectl(&facts, to, logs));
            context.suggest(next_steps::in_agent(&facts, from, None, "cilium-dbg service list"));
        }
        tally.verdict()
    }
}

async fn observe(
    context: &CheckContext,
    clients: &[AgentFacts],
    (namespace, name): (&str, &str),
    selector: &Value,
    tally: &mut Tally,
) {
    let (from, to) = (context.instance.from(), context.instance.to());
    let environment = context.environment.as_ref();
    let nothing = json!({"meshproof.dev/selects": "nothing"});
    let near = match environment.apply(from, manifest(namespace, name, &nothing)).await {
        Ok(near) => near,
        Err(error) => return tally.unknown(format!("the service could not be created in {from}: {error}")),
    };
    let Some(address) = near.pointer("/spec/clusterIP").and_then(Value::as_str) else {
        return tally.unknown(format!("the API of {from} gave the service no cluster IP"));
    };
    let watch = Watch {
        context,
        clients,
        target: Target::new(address, port::HTTP),
    };

    let before = watch.look().await;
    for (node, seen) in &before {
        match seen {
            Seen::Nothing(_) => {}
            Seen::There | Seen::Stranger(_) => tally.finding(
                format!("control, {node}"),
                "no answer while no cluster has backends for the service",
                describe(seen),
            ),
            Seen::Unknown(why) => tally.unknown(format!("control, {node}: {why}")),
        }
    }
    if tally.has_findings() || before.values().any(|s| matches!(s, Seen::Unknown(_))) {
        return;
    }

    if let Err(error) = environment.apply(to, manifest(namespace, name, selector)).await {
        return tally.unknown(format!("the service could not be created in {to}: {error}"));
    }
    let appeared = watch.until(|seen| *seen == Seen::There).await;
    shared_services(context).await;
    match appeared {
        Ok(after) => {
            context.measure(
                "change_seen_after",
                format!("{to} -> {from}"),
                millis(after),
                Unit::Milliseconds,
            );
            tally.witness(format!(
                "the clients on all {} nodes of {from} were answered by pods of {to} {} ms after the service was created there",
                clients.len(),
                after.as_millis()
            ));
            if late(context, "creation", after, tally) {
                return;
            }
        }
        Err(last) => {
            let expected = format!(
                "within {} s of the service's creation in {to}, an answer from a pod of {to}",
                never(context).as_secs()
            );
            tell(&last, &expected, |seen| *seen == Seen::There, context, tally);
            return;
        }
    }

    if let Err(error) = environment.delete(to, &service(namespace, name)).await {
        return tally.unknown(format!("the service could not be deleted in {to} again: {error}"));
    }
    match watch.until(|seen| matches!(seen, Seen::Nothing(_))).await {
        Ok(after) => {
            context.measure(
                "removal_seen_after",
                format!("{to} -> {from}"),
                millis(after),
                Unit::Milliseconds,
            );
            tally.witness(format!(
                "{} ms after its deletion in {to} nothing answered any more on any node of {from}",
                after.as_millis()
            ));
            late(context, "deletion", after, tally);
        }
        Err(last) => {
            let expected = format!(
                "within {} s of the service's deletion in {to}, no answer any more",
                never(context).as_secs()
            );
            tell(
                &last,
                &expected,
                |seen| matches!(seen, Seen::Nothing(_)),
                context,
                tally,
            );
        }
    }
}

/// Whether the change was felt too late, which then is told.
fn late(context: &CheckContext, what: &str, after: Duration, tally: &mut Tally) -> bool {
    let limit = context.environment.facts().thresholds.propagation;
    if after <= limit {
        return false;
    }
    let (from, to) = (context.instance.from(), context.instance.to());
    tally.finding(
        format!("{to} -> {from}"),
        format!(
            "the service's {what} in {to} is felt on every node of {from} within {} s",
            limit.as_secs()
        ),
        format!("it was felt, but only after {:.1} s", after.as_secs_f64()),
    );
    true
}

/// What the agents of the near cluster count, as evidence only.
async fn shared_services(context: &CheckContext) {
    let mut unread = Tally::new();
    let facts = context.environment.facts();
    let name = remotes::mesh_name(&facts, context.instance.to());
    for report in remotes::reports(context, context.instance.from(), CiliumQuery::Status, &mut unread).await {
        for remote in report.remotes.iter().flatten().filter(|r| r.name == name) {
            let count = remote.num_shared_services;
            context.note(format!(
                "{} on {} counts {count} shared services of {name}",
                report.pod, report.node
            ));
        }
    }
}

fn millis(after: Duration) -> f64 {
    after.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, infra_to_apps, timeout};
    use meshproof_contract::Action;

    fn http_to_service(action: &Action) -> bool {
        matches!(action, Action::Http { to, .. } if to.host.starts_with("10.96.") || to.host.starts_with("10.97."))
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_arrives_and_goes_is_green_and_timed() {
        let fake = Fake::healthy().propagation(Some(Duration::from_secs(2)), Some(Duration::from_secs(3)));
        let text = fake.expect(&ChangePropagates, infra_to_apps(), "pass").await;
        assert!(
            text.contains("change_seen_after") && text.contains("removal_seen_after"),
            "{text}"
        );
        assert!(text.contains("2000 ms after the service was created"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_promised_time_is_what_counts() {
        let fake = Fake::healthy().propagation(Some(Duration::from_secs(2)), Some(Duration::from_secs(3)));
        let fake = fake.facts(|facts| facts.thresholds.propagation = Duration::from_millis(2500));
        fake.expect(&ChangePropagates, infra_to_apps(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_never_arrives_is_red() {
        let text = Fake::healthy()
            .propagation(None, None)
            .expect(&ChangePropagates, infra_to_apps(), "fail")
            .await;
        assert!(
            text.contains("clients on all 3 nodes of infra") && text.contains("nothing answers"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_arrives_late_is_red() {
        let late = |after: u64| Some(Duration::from_secs(after));
        for fake in [
            Fake::healthy().propagation(late(12), late(0)),
            Fake::healthy().propagation(late(0), late(12)),
        ] {
            let text = fake.expect(&ChangePropagates, infra_to_apps(), "fail").await;
            assert!(text.contains("only after 12.0 s"), "{text}");
        }
        Fake::healthy()
            .propagation(late(9), late(9))
            .expect(&ChangePropagates, infra_to_apps(), "pass")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_node_that_does_not_learn_is_named() {
        let fake =
            Fake::healthy().rule(|p| (p.from.node.as_str() == "infra-3" && http_to_service(p.action)).then(timeout));
        let text = fake.expect(&ChangePropagates, infra_to_apps(), "fail").await;
        assert!(
            text.contains("clients on infra-3") && text.contains("2 other nodes saw the change"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_removal_that_never_arrives_is_red() {
        let fake = Fake::healthy().propagation(Some(Duration::ZERO), None);
        let text = fake.expect(&ChangePropagates, infra_to_apps(), "fail").await;
        assert!(text.contains("no answer any more"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_before_the_change_is_red() {
        let fake = Fake::healthy().rule(|p| http_to_service(p.action).then(|| p.answered_by_cluster("apps")));
        let text = fake.expect(&ChangePropagates, infra_to_apps(), "fail").await;
        assert!(text.contains("control, infra-1"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_the_wrong_cluster_is_red() {
        let fake = Fake::healthy()
            .rule(|p| (p.batch > 0 && http_to_service(p.action)).then(|| p.answered_by_cluster("infra")));
        let text = fake.expect(&ChangePropagates, infra_to_apps(), "fail").await;
        assert!(text.contains("somebody else"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_behind() {
        for fake in [Fake::healthy(), Fake::healthy().propagation(None, None)] {
            let (_, created) = fake.run(&ChangePropagates, infra_to_apps()).await;
            assert_eq!(created, Vec::<String>::new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_harness_could_not_see_is_inconclusive_and_what_is_not_claimed_skipped() {
        let fakes = [
            Fake::healthy().apply_refused(),
            Fake::healthy().local_errors(),
            Fake::healthy().agents_gone(),
            Fake::healthy().without_agents(),
            Fake::healthy().missing("client", "infra-1"),
            Fake::healthy().facts(|f| f.services.clear()),
            Fake::healthy().without_object("apps", "Service", "server"),
            Fake::healthy().facts(|f| {
                let config = &mut f.clusters[1].cilium.as_mut().expect("cilium").config;
                config.insert("clustermesh-default-global-namespace".into(), "false".into());
            }),
        ];
        for fake in fakes {
            fake.expect(&ChangePropagates, infra_to_apps(), "inconclusive").await;
        }
        Fake::healthy()
            .facts(|f| f.claims.clear())
            .expect(&ChangePropagates, infra_to_apps(), "skipped")
            .await;
    }
}
