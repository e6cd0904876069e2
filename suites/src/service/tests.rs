//! The suite's checks against two clusters in memory.

mod changes;
pub mod mesh;
mod node_port;
pub mod world;

use super::{
    CONVERGES, CONVERGES_AT_LEAST, cluster_ip::ClusterIp, converges_within, global, global_name::GlobalName,
    headless::GlobalHeadless, merging, ports, session_affinity::SessionAffinity,
};
use crate::testing::infra;
use meshproof_contract::{Check, CheckContext, Evidence, NodeLabel, RunShared, evidence::CellOutcome};
use std::sync::Arc;
use world::{Turns, agent, answered_by, first_pod, healthy, right};

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_ready_may_get_no_requests() {
    let avoided: Turns = |service, client, number| match right(service, client, number) {
        0 => 1,
        other => other,
    };
    first_pod(answered_by(avoided), "True")
        .expect(&ClusterIp, infra(), "fail")
        .await;
    let text = first_pod(answered_by(avoided), "False")
        .expect(&ClusterIp, infra(), "inconclusive")
        .await;
    assert!(
        text.contains("pod infra/service-backend-infra-1 has not been ready since")
            && text.contains("evidence: cluster IP of svc-plain"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn services_as_annotated_are_green() {
    for check in super::SUITE.checks.iter().filter(|check| {
        [
            "cluster_ip",
            "several_ports",
            "udp_port",
            "session_affinity",
            "global_spread",
            "global_spread_legacy",
        ]
        .iter()
        .chain(&["unannotated_not_merged", "affinity_local", "affinity_remote"])
        .any(|name| check.id().as_str() == format!("service::{name}"))
    }) {
        let text = healthy().expect(*check, infra(), "pass").await;
        assert!(text.contains("witness"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_answer_to_a_plain_service_is_red_and_names_its_cluster() {
    let text = answered_by(|_, _, number| number as usize % 4)
        .expect(&ClusterIp, infra(), "fail")
        .await;
    assert!(
        text.contains("unexpected answers from pods of apps") && text.contains("all 3 nodes of infra"),
        "{text}"
    );
    answered_by(|_, _, number| number as usize % 4)
        .expect(&merging::UNANNOTATED, infra(), "fail")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_answers_is_red() {
    let text = answered_by(|_, _, _| 0).expect(&ClusterIp, infra(), "fail").await;
    assert!(text.contains("never answers"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_skewed_spread_is_red_although_everybody_answers() {
    let skewed: Turns = |service, client, number| match (service, number % 20) {
        ("svc-global", 0..17) => 0,
        ("svc-global", n) => n as usize - 16,
        _ => right(service, client, number),
    };
    let text = answered_by(skewed).expect(&global::CURRENT, infra(), "fail").await;
    assert!(
        text.contains("exact binomial test") && text.contains("cluster apps"),
        "{text}"
    );
    answered_by(skewed).expect(&global::LEGACY, infra(), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_proven_about_merging_while_the_control_is_silent() {
    let cut: Turns = |service, client, number| match service {
        "svc-global" => right("svc-local", client, number),
        _ => right(service, client, number),
    };
    for check in [&merging::UNANNOTATED, &merging::LOCAL, &merging::REMOTE] {
        let text = answered_by(cut).expect(check, infra(), "inconclusive").await;
        assert!(text.contains("control"), "{text}");
    }
    let text = answered_by(cut).expect(&global::CURRENT, infra(), "fail").await;
    assert!(text.contains("never answers"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_affinity_that_is_ignored_is_red() {
    let ignored: Turns = |_, _, number| number as usize % 4;
    for check in [&merging::LOCAL, &merging::REMOTE] {
        answered_by(ignored).expect(check, infra(), "fail").await;
    }
    answered_by(ignored).expect(&SessionAffinity, infra(), "fail").await;
    let own: Turns = |service, client, number| match service {
        "svc-sticky/tcp" => right("svc-sticky", client, number),
        _ => right(service, client, number),
    };
    let text = answered_by(own).expect(&SessionAffinity, infra(), "pass").await;
    assert!(text.contains("no pod of another cluster"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_port_is_red_and_named() {
    // Beyond the last pod nobody answers, and no agent has the address of a Service.
    let dead: Turns = |service, client, number| match service {
        "svc-ports" | "svc-ports/alt" => right("svc-local", client, number),
        _ => right(service, client, number),
    };
    let text = answered_by(dead).expect(&ports::TCP, infra(), "fail").await;
    assert!(text.contains("svc-ports port tcp (81)"), "{text}");
    assert!(!text.contains("known fault"), "all ports are affected: {text}");
}

#[tokio::test(start_paused = true)]
async fn one_of_two_ports_on_one_target_without_remote_backends_is_the_known_fault() {
    let without: Turns = |service, client, number| match service {
        "svc-ports/alt" => right("svc-local", client, number),
        _ => right(service, client, number),
    };
    let fake = || answered_by(without);
    let text = fake().expect(&ports::TCP, infra(), "fail").await;
    assert!(
        text.contains("known fault of Cilium") && text.contains("cilium/issues/45109"),
        "{text}"
    );
    fake().expect(&global::CURRENT, infra(), "pass").await;
}

#[tokio::test(start_paused = true)]
async fn a_headless_name_must_lead_to_every_cluster_where_that_is_configured() {
    let text = healthy().expect(&GlobalHeadless, infra(), "skipped").await;
    assert!(text.contains("clustermesh-enable-endpoint-sync"), "{text}");
    let synced = || {
        healthy().facts(|facts| {
            let cilium = facts.clusters[0].cilium.as_mut().expect("cilium");
            cilium
                .config
                .insert("clustermesh-enable-endpoint-sync".to_owned(), "true".to_owned());
        })
    };
    synced().expect(&GlobalHeadless, infra(), "pass").await;
    synced()
        .facts(|facts| facts.agents.push(agent("apps", 3, "backend", 61)))
        .expect(&GlobalHeadless, infra(), "fail")
        .await;
}

#[tokio::test(start_paused = true)]
async fn without_backends_it_is_inconclusive_and_without_a_claim_skipped() {
    healthy()
        .facts(|facts| facts.agents.retain(|a| a.workload != "backend"))
        .expect(&ClusterIp, infra(), "inconclusive")
        .await;
    let claimed: [&dyn Check; 3] = [&global::CURRENT, &global::LEGACY, &GlobalName];
    for check in claimed {
        healthy()
            .facts(|facts| facts.claims.clear())
            .expect(check, infra(), "skipped")
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_answered_whom_is_evidence_with_counts() {
    let skewed: Turns = |service, client, number| match (service, number % 3) {
        ("svc-plain", 0) => 2,
        _ => right(service, client, 0),
    };
    let context = CheckContext::new(Arc::new(answered_by(skewed)), infra());
    ClusterIp.run(&context).await;
    let evidence = context.take_notes().evidence;
    let row = evidence.iter().find_map(|one| match one {
        Evidence::Row(row) if row.from.node.as_str() == "infra-1" => Some(row),
        _ => None,
    });
    let row = row.expect("a row of the client on infra-1");
    let node = |cluster: &str, node: &str| NodeLabel::pod(&cluster.into(), &node.into());
    let cells = row.cells.iter().map(|cell| (&cell.to, cell.outcome, cell.value));
    assert_eq!(
        cells.collect::<Vec<_>>(),
        [
            (&node("apps", "apps-1"), CellOutcome::Mismatch, Some(42.0)),
            (&node("infra", "infra-1"), CellOutcome::Ok, Some(78.0)),
            (&node("infra", "infra-2"), CellOutcome::NoAnswer, Some(0.0)),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_first_trials_of_a_run_wait_for_convergence() {
    let of_run = |shared: &Arc<RunShared>| {
        CheckContext::new(super::world(crate::testing::MISSION), infra()).sharing(shared.clone())
    };
    let (run, another): (Arc<RunShared>, Arc<RunShared>) = Default::default();
    assert_eq!(converges_within(&of_run(&run)), CONVERGES);
    tokio::time::advance(CONVERGES).await;
    assert_eq!(converges_within(&of_run(&run)), CONVERGES_AT_LEAST);
    assert_eq!(converges_within(&of_run(&another)), CONVERGES);
}
