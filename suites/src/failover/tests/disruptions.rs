//! Disruptions of agents, nodes and the clustermesh-apiserver.

use super::{
    super::{
        agent_restart::AGENT_RESTART,
        mesh_apiserver_down::{MINUTES, SECONDS},
        node_away::{NODE_DRAINED, NODE_LOST},
        other_cluster_lost::OTHER_CLUSTER_LOST,
        rollout::{DNS_RESTARTED, KVSTOREMESH_RESTARTED, OPERATOR_RESTARTED},
    },
    world::World,
};
use crate::testing::{infra, infra_to_apps};
use std::time::Duration;

/// The agent is ready after half a second, and the endpoints two seconds later.
fn slow_regeneration() -> World {
    World::with(|world| world.regenerates = Duration::from_secs(2))
}

#[tokio::test(start_paused = true)]
async fn what_the_regeneration_of_endpoints_drops_is_seen() {
    slow_regeneration().expect(&AGENT_RESTART, infra(), "pass").await;
    let dropping = |from: u64| {
        slow_regeneration().losing(move |_, since| (from..from + 400).contains(&(since.as_millis() as u64)))
    };
    dropping(3500).expect(&AGENT_RESTART, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn clients_on_one_node_are_spread_first() {
    let text = World::new()
        .crowded("infra", "client", "infra-2")
        .expect(&AGENT_RESTART, infra(), "pass")
        .await;
    assert!(text.contains("to spread them"), "{text}");
    let stuck = World::with(|world| world.crowds = true).crowded("infra", "client", "infra-2");
    stuck.expect(&AGENT_RESTART, infra(), "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_come_back_hides_no_finding() {
    let gone = || World::with(|world| world.restores = None);
    gone().expect(&AGENT_RESTART, infra(), "inconclusive").await;
    let dropping = gone().losing(|service, since| service == "failover-local" && since.as_millis() < 400);
    dropping.expect(&AGENT_RESTART, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_come_back_hides_no_finding() {
    World::new().expect(&NODE_LOST, infra(), "pass").await;
    let gone = || World::with(|world| world.restores = None);
    gone().expect(&NODE_LOST, infra(), "inconclusive").await;
    gone()
        .losing(|service, _| service == "failover-local")
        .expect(&NODE_LOST, infra(), "fail")
        .await;
}

#[tokio::test(start_paused = true)]
async fn backends_on_one_node_are_spread_first() {
    let text = World::new()
        .crowded("infra", "backend", "infra-2")
        .expect(&NODE_LOST, infra(), "pass")
        .await;
    assert!(text.contains("to spread them"), "{text}");
    let stuck = World::with(|world| world.crowds = true).crowded("infra", "backend", "infra-2");
    stuck.expect(&NODE_LOST, infra(), "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_can_cut_is_not_lost_and_can_be_drained() {
    let powerless = || World::with(|world| world.power = false);
    let text = powerless().expect(&NODE_LOST, infra(), "skipped").await;
    assert!(text.contains("nodePower"), "{text}");
    let text = powerless().expect(&NODE_DRAINED, infra(), "pass").await;
    assert!(text.contains("cordon node infra-3"), "{text}");
    let kept = World::with(|world| (world.power, world.forgets) = (false, Duration::from_secs(600)));
    kept.expect(&NODE_DRAINED, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_minutes_is_watched_for_as_long_as_it_lasts() {
    World::new().expect(&MINUTES, infra_to_apps(), "skipped").await;
    let outage = || World::with(|world| world.facts.mesh_outage_seconds = Some(180));
    outage().expect(&MINUTES, infra_to_apps(), "pass").await;
    dropping(outage(), 150).expect(&MINUTES, infra_to_apps(), "fail").await;
    dropping(World::new(), 150)
        .expect(&SECONDS, infra_to_apps(), "pass")
        .await;
}

fn joins_after(seconds: Option<u64>) -> World {
    World::with(|world| world.joins = seconds.map(Duration::from_secs))
}

/// Answers are lost so long after the disruption, for half a second.
fn dropping(world: World, seconds: u64) -> World {
    let (from, to) = (seconds * 1000, seconds * 1000 + 500);
    world.losing(move |_, since| (from..to).contains(&(since.as_millis() as u64)))
}

#[tokio::test(start_paused = true)]
async fn streams_are_watched_until_the_clusters_are_in_sync_again_and_longer() {
    let check = &SECONDS;
    joins_after(Some(9)).expect(check, infra_to_apps(), "pass").await;
    dropping(joins_after(Some(9)), 11)
        .expect(check, infra_to_apps(), "fail")
        .await;
    let text = joins_after(Some(90)).expect(check, infra_to_apps(), "fail").await;
    assert!(text.contains("is counted in infra within 60 s"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_counts_services_streams_are_watched_for_as_long_as_it_may_take() {
    let check = &SECONDS;
    joins_after(None).expect(check, infra_to_apps(), "pass").await;
    dropping(joins_after(None), 14)
        .expect(check, infra_to_apps(), "fail")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_return_that_failed_hides_no_finding() {
    let gone = || World::with(|world| world.restores = None);
    gone().expect(&SECONDS, infra_to_apps(), "inconclusive").await;
    dropping(gone(), 1).expect(&SECONDS, infra_to_apps(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn local_services_survive_the_loss_of_the_other_cluster() {
    let text = World::new().expect(&OTHER_CLUSTER_LOST, infra_to_apps(), "pass").await;
    assert!(text.contains("lost 8 of 8 connections"), "{text}");
    assert!(text.contains("apps answers again"), "{text}");
    let text = World::new()
        .losing(|service, since| service == "failover-global" && since.as_millis() < 400)
        .expect(&OTHER_CLUSTER_LOST, infra_to_apps(), "fail")
        .await;
    assert!(text.contains("unaffected: at least"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_return_is_red_and_one_that_nobody_can_cut_is_skipped() {
    let never_back = World::with(|world| world.restores = None);
    never_back
        .expect(&OTHER_CLUSTER_LOST, infra_to_apps(), "inconclusive")
        .await;
    let unreachable = World::new().losing(|service, _| service == "failover-remote");
    let text = unreachable.expect(&OTHER_CLUSTER_LOST, infra_to_apps(), "fail").await;
    assert!(text.contains("although a pod in apps answers directly"), "{text}");
    let text = World::with(|world| world.power = false)
        .expect(&OTHER_CLUSTER_LOST, infra_to_apps(), "skipped")
        .await;
    assert!(text.contains("nodePower"), "{text}");
}

/// Probes to a name or Service are lost so long after the rollout began, in milliseconds.
fn losing(service: &'static str, from: u64, to: u64) -> World {
    World::new().losing(move |name, since| name == service && (from..to).contains(&(since.as_millis() as u64)))
}

#[tokio::test(start_paused = true)]
async fn names_may_fail_for_as_long_as_an_endpoint_takes_to_be_removed() {
    let text = World::new().expect(&DNS_RESTARTED, infra(), "pass").await;
    assert!(text.contains("all pods were new and available"), "{text}");
    // Service and name are lost together in this world, and other streams must not be affected.
    let text = losing("failover-local", 200, 3200)
        .expect(&DNS_RESTARTED, infra(), "fail")
        .await;
    assert!(text.contains("no outage of more than 2000 ms"), "{text}");
    let one = World::with(|world| {
        let dns = world.facts.clusters[0].dns.as_mut().expect("DNS");
        dns.replicas.truncate(1);
    });
    let text = one.expect(&DNS_RESTARTED, infra(), "pass").await;
    assert!(text.contains("one replica"), "{text}");
    let unfinished = World::with(|world| world.restores = None);
    unfinished.expect(&DNS_RESTARTED, infra(), "inconclusive").await;
}

#[tokio::test(start_paused = true)]
async fn remote_backends_must_answer_while_components_restart() {
    for check in [&KVSTOREMESH_RESTARTED, &OPERATOR_RESTARTED] {
        World::new().expect(check, infra_to_apps(), "pass").await;
        losing("failover-remote", 300, 900)
            .expect(check, infra_to_apps(), "fail")
            .await;
        losing("failover-remote", 1_500, 2_100)
            .expect(check, infra_to_apps(), "fail")
            .await;
        let unfinished = World::with(|world| world.restores = None);
        unfinished.expect(check, infra_to_apps(), "inconclusive").await;
    }
    let without = World::with(|world| {
        let cilium = world.facts.clusters[0].cilium.as_mut().expect("Cilium");
        cilium.kvstoremesh = false;
    });
    without.expect(&KVSTOREMESH_RESTARTED, infra_to_apps(), "skipped").await;
}
