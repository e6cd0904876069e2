//! A change made in one cluster takes effect in the other: a global Service gets backends there, and loses them again.

mod phases;
mod watch;

use super::STATUS_NEEDS;
use crate::kit::{
    cilium::{namespace, remotes},
    matrix::{self, SCENARIO},
    next_steps, recent, unique_name,
};
use async_trait::async_trait;
use meshproof_contract::{
    AgentFacts, Check, CheckContext, CheckId, CheckText, ClusterName, Facts, Needs, ObjectRef, Scope, Tally, Verdict,
};
use serde_json::Value;

/// Propagation of a change from `to` to `from`, as the pods of `from` see it.
pub struct ChangePropagates;

#[async_trait]
impl Check for ChangePropagates {
    fn id(&self) -> CheckId {
        CheckId::from("mesh::change_propagates")
    }

    fn text(&self) -> CheckText {
        CheckText {
            title: "A change in the other cluster takes effect here in time, and so does its removal",
            proves: "The mesh works now: state of the other cluster reaches the datapath of every node here. No \
                     status can show that, since agents report ready even after the other cluster is gone.",
            how: "A global Service with a random name is created here without backends, then in the other cluster \
                  with backends, and later deleted there. The client on every node here must be answered by a pod of \
                  the other cluster, and then no longer, each within `thresholds.propagation` (default 10 s) and for \
                  two reads; both times are recorded.",
            control: "Before the Service exists in the other cluster, the same clients get no answer at its cluster \
                      IP. Each answer names the pod and cluster that gave it.",
            when_red: "No change seen: `kubectl --context OTHER_CONTEXT -n kube-system logs \
                       deploy/clustermesh-apiserver -c apiserver --tail=50` and mesh::kvstoremesh_ready. Seen on some \
                       nodes only, or answers after the removal: `kubectl --context CONTEXT -n kube-system exec \
                       AGENT_POD -c cilium-agent -- cilium-dbg service list`.",
        }
    }

    fn scope(&self) -> Scope {
        Scope::Direction
    }
    fn needs(&self) -> Needs {
        Needs {
            scenario: Some(SCENARIO),
            mutates: true,
            ..STATUS_NEEDS
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
        match prepare(context).await {
            Ok(change) => change.run(context).await,
            Err(verdict) => verdict,
        }
    }
}

/// What the check changes, and who observes it.
struct Change {
    clients: Vec<AgentFacts>,
    namespace: String,
    name: String,
    /// What selects the servers in the other cluster.
    selector: Value,
}

/// Whatever is needed, or why it is missing.
async fn prepare(context: &CheckContext) -> Result<Change, Verdict> {
    let facts = context.environment.facts();
    let (from, to) = (context.instance.from(), context.instance.to());
    let (near, far) = remotes::members(&facts, from, to)?;
    let clients = matrix::agents(&facts, from, "client");
    if clients.is_empty() || matrix::agents(&facts, to, "server").is_empty() {
        return Err(Verdict::inconclusive(format!(
            "needs a ready agent `client` in {from} and a ready agent `server` in {to}; one of them is missing"
        )));
    }
    let Some(server) = facts.service(to, "server") else {
        return Err(Verdict::inconclusive(format!(
            "the scenario's Service `server` is not in {to}, so the selector of its pods is unknown"
        )));
    };
    let selector = selector(context, to, &service(&server.namespace, &server.name)).await?;
    for (cluster, cilium) in [(from, near), (to, far)] {
        namespace::is_global(context, cluster, cilium, &server.namespace).await?;
    }
    Ok(Change {
        clients,
        namespace: server.namespace.clone(),
        name: unique_name::label("change"),
        selector,
    })
}

/// What selects the pods of a Service.
async fn selector(context: &CheckContext, cluster: &ClusterName, service: &ObjectRef) -> Result<Value, Verdict> {
    let found = recent::object(context, cluster, service).await;
    let found = found.map_err(|error| {
        Verdict::inconclusive(format!("cannot read Service {} in {cluster}: {error}", service.name))
    })?;
    let selector = found.and_then(|s| s.pointer("/spec/selector").cloned());
    selector.filter(Value::is_object).ok_or_else(|| {
        Verdict::inconclusive(format!(
            "Service {} in {cluster} has no selector, so no other Service can select its pods",
            service.name
        ))
    })
}

fn service(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::namespaced("v1", "Service", namespace, name)
}

impl Change {
    async fn run(&self, context: &CheckContext) -> Verdict {
        let facts = context.environment.facts();
        let (from, to) = (context.instance.from(), context.instance.to());
        let mut tally = Tally::new();
        missing_clients(&facts, from, &mut tally);
        let phases = phases::Phases {
            context,
            clients: &self.clients,
            namespace: &self.namespace,
            name: &self.name,
        };
        phases.run(&self.selector, &mut tally).await;
        for cluster in [from, to] {
            let service = service(&self.namespace, &self.name);
            if let Err(error) = context.environment.discard(cluster, &service).await {
                context.note(format!(
                    "Service {} stays in {cluster} until the end of the run: {error}",
                    self.name
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

/// Clients that should run and do not keep the check from passing.
fn missing_clients(facts: &Facts, cluster: &ClusterName, tally: &mut Tally) {
    let missing = facts.missing_agents.iter();
    for missing in missing.filter(|m| &m.cluster == cluster && m.workload == "client") {
        let node = missing.node.as_ref().map(|n| format!(" on {n}")).unwrap_or_default();
        tally.unknown(format!(
            "agent `client`{node} in {cluster} is not running: {}",
            missing.state
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fake, denied, infra_to_apps, local_error, timeout};
    use meshproof_contract::{Action, Target};
    use std::{sync::Arc, time::Duration};

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
        assert!(text.contains("2000 ms after the Service was created"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_threshold_in_force_is_what_counts() {
        let fake = Fake::healthy().propagation(Some(Duration::from_secs(2)), Some(Duration::from_secs(3)));
        let fake = fake.facts(|facts| facts.thresholds.propagation = Duration::from_millis(2500));
        fake.expect(&ChangePropagates, infra_to_apps(), "fail").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_the_data_path_refuses_for_lack_of_backends_has_none() {
        let context = CheckContext::new(Arc::new(Fake::healthy()), infra_to_apps());
        let watch = watch::Watch {
            context: &context,
            clients: &[],
            target: Target::new("10.96.0.1", 80),
        };
        assert!(matches!(watch.judge(&denied()), watch::Seen::Nothing(_)));
        assert!(matches!(watch.judge(&local_error()), watch::Seen::Unknown(_)));
    }

    #[test]
    fn where_most_nodes_could_not_look_one_word_is_not_enough() {
        let context = CheckContext::new(Arc::new(Fake::healthy()), infra_to_apps());
        let word = |unable: usize| {
            let seen = |node: usize| match node < unable {
                true => watch::Seen::Unknown("not scheduled for 3000 ms".to_owned()),
                false => watch::Seen::Nothing("no answer".to_owned()),
            };
            let last = (0..3).map(|node| (format!("infra-{node}"), seen(node))).collect();
            let mut tally = Tally::new();
            watch::report(&last, "answered", |_| false, &context, &mut tally);
            tally.verdict().word()
        };
        assert_eq!((word(1), word(2)), ("fail", "inconclusive"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_never_arrives_is_red() {
        let text = Fake::healthy()
            .propagation(None, None)
            .expect(&ChangePropagates, infra_to_apps(), "fail")
            .await;
        assert!(
            text.contains("clients on all 3 nodes of infra") && text.contains("no answer"),
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
            assert!(text.contains("took 12.0 s"), "{text}");
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
        assert!(text.contains("no more answers"), "{text}");
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
        assert!(text.contains("unexpected answer"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_behind() {
        for fake in [Fake::healthy(), Fake::healthy().propagation(None, None)] {
            let (_, created) = fake.run(&ChangePropagates, infra_to_apps()).await;
            assert_eq!(created, Vec::<String>::new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_what_it_needs_it_is_inconclusive_and_without_a_claim_skipped() {
        let fakes = [
            Fake::healthy().apply_refused(),
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
