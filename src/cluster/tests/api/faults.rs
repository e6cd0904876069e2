//! Agents that do not become ready, that port-forward does not reach, that have another version, and Cilium that cannot
//! answer.

use crate::{
    kubelet::{CiliumImage, Way},
    world::{Recorded, World, options},
};
use meshproof_apiserver::{DeleteOptions, resource::names::PODS};
use meshproof_cluster::{ClusterEnvironment, DeployError, ProgressSink, Run, discover};
use meshproof_contract::{
    AgentId, CiliumQuery, ClaimKind, Environment, EnvironmentError, Probe, Target, probe::Action,
};
use meshproof_scenario::builtin;
use std::{sync::Arc, time::Duration};

async fn deploy(world: &World, progress: &ProgressSink) -> (Run, Result<Arc<ClusterEnvironment>, DeployError>) {
    let contexts = world.connect().await.expect("connects");
    let discovery = discover(&contexts, progress).await.expect("discovers");
    let run = Run::start(&contexts, "run-1".into(), progress).await.expect("starts");
    let scenario = builtin("connectivity").expect("a scenario");
    let environment = run.deploy(discovery, &[scenario], &options()).await;
    (run, environment)
}

async fn probe(environment: &ClusterEnvironment, agent: &AgentId) -> Result<(), EnvironmentError> {
    let to = Target::new("192.0.2.1", 8081);
    let probe = Probe::once(Action::TcpConnect { to }, Duration::from_secs(1));
    environment
        .probe(agent, vec![probe])
        .await
        .map(|outcomes| assert_eq!(outcomes.len(), 1))
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_do_not_come_are_named_and_the_others_are_used() {
    let world = World::start(&["apps"]);
    world.cluster("apps").knobs.lock().expect("knobs").without_image = Some("apps-2".into());
    let recorded = Recorded::default();
    let (run, environment) = deploy(&world, &recorded.progress()).await;
    let facts = environment.expect("deploys").facts();
    assert_eq!(facts.agents.len(), 3);
    assert_eq!(facts.missing_agents.len(), 3);
    for missing in &facts.missing_agents {
        assert_eq!(missing.node, Some("apps-2".into()));
        assert!(missing.state.contains("ImagePullBackOff"), "{missing:?}");
    }
    let all = recorded.all();
    assert!(
        all.contains("apps: 3 of 6 agents ready; node apps-2: ImagePullBackOff"),
        "{all}"
    );
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_another_version_are_an_error_that_names_both_versions() {
    let world = World::start(&["apps"]);
    {
        let mut knobs = world.cluster("apps").knobs.lock().expect("knobs");
        knobs.protocol = 99;
    }
    let (run, environment) = deploy(&world, &ProgressSink::silent()).await;
    let error = environment.err().expect("another version").to_string();
    assert!(error.contains("uses protocol version 99"), "{error}");
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_is_used_where_port_forward_fails() {
    let world = World::start(&["apps"]);
    world.cluster("apps").knobs.lock().expect("knobs").port_forward = Way::Broken;
    let (run, environment) = deploy(&world, &ProgressSink::silent()).await;
    let environment = environment.expect("deploys");
    assert_eq!(environment.facts().agents.len(), 6);
    for agent in &environment.facts().agents {
        probe(&environment, &agent.id).await.expect("answers over exec");
    }
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_is_opened_again_while_the_pod_is_the_same() {
    let world = World::start(&["apps"]);
    world.cluster("apps").knobs.lock().expect("knobs").hangs_up = true;
    let (run, environment) = deploy(&world, &ProgressSink::silent()).await;
    let environment = environment.expect("deploys");
    let agent = environment.facts().agents[0].id.clone();
    for _ in 0..3 {
        probe(&environment, &agent)
            .await
            .expect("answers each time on a new stream");
    }
    let store = &world.cluster("apps").store;
    let deleted = store.delete(&PODS, Some("meshproof"), &agent.pod, &DeleteOptions::now());
    deleted.expect("the pod is deleted");
    let error = probe(&environment, &agent).await.expect_err("gone");
    assert!(
        matches!(&error, EnvironmentError::AgentGone { reason, .. } if reason.contains("deleted")),
        "{error:?}"
    );
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_container_is_noticed() {
    let world = World::start(&["apps"]);
    world.cluster("apps").knobs.lock().expect("knobs").hangs_up = true;
    let (run, environment) = deploy(&world, &ProgressSink::silent()).await;
    let environment = environment.expect("deploys");
    let agent = environment.facts().agents[0].id.clone();
    probe(&environment, &agent).await.expect("answers");
    let store = &world.cluster("apps").store;
    let restarted = store.modify_status(&PODS, Some("meshproof"), &agent.pod, |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"] = serde_json::json!(1);
    });
    restarted.expect("its status");
    let error = probe(&environment, &agent).await.expect_err("restarted");
    assert!(error.to_string().contains("restarted"), "{error}");
    probe(&environment, &agent).await.expect("the new container answers");
    run.tear_down().await.expect("tears down");
}

#[tokio::test(flavor = "multi_thread")]
async fn cilium_is_found_wherever_it_is_and_asked_by_its_own_commands() {
    let world = World::start(&["apps"]);
    let apps = world.cluster("apps");
    apps.install_cilium("networking", "infra");
    let (run, environment) = deploy(&world, &ProgressSink::silent()).await;
    let environment = environment.expect("deploys");
    let facts = environment.facts();
    let cilium = facts.clusters[0].cilium.as_ref().expect("Cilium");
    assert_eq!(
        (cilium.version.as_str(), cilium.cluster_name()),
        ("1.18.3", Some("apps"))
    );
    assert_eq!(cilium.remotes, Some(vec!["infra".to_owned()]));
    assert!(cilium.kvstoremesh);
    assert_eq!(cilium.agents.len(), 2);
    let claim = facts.claim(&"apps".into(), ClaimKind::Encryption).expect("a claim");
    assert_eq!(claim.value, "wireguard");
    assert!(
        claim.source.to_string().contains("networking/cilium-config"),
        "{}",
        claim.source
    );

    let cluster = "apps".into();
    let answers = environment.cilium(&cluster, CiliumQuery::Status).await.expect("asked");
    let nodes: Vec<_> = answers.iter().map(|a| a.node.as_str()).collect();
    assert_eq!(nodes, ["apps-1", "apps-2"]);
    assert_eq!(answers[0].output.as_ref().expect("an answer")["asked"], "cilium-dbg");
    let mesh = environment
        .cilium(&cluster, CiliumQuery::KvstoreMesh)
        .await
        .expect("asked");
    assert_eq!(mesh[0].output.as_ref().expect("an answer"), &serde_json::json!([]));
    let failed = environment.cilium(&cluster, CiliumQuery::Policy).await.expect("asked");
    let error = failed[0].output.as_ref().expect_err("exit code 1").to_string();
    assert!(
        error.contains("cilium-dbg policy get -o json") && error.contains("exit code 1"),
        "{error}"
    );

    apps.knobs.lock().expect("knobs").cilium = CiliumImage::Old;
    let old = environment.cilium(&cluster, CiliumQuery::Status).await.expect("asked");
    assert_eq!(old[0].output.as_ref().expect("an answer")["asked"], "cilium");
    apps.knobs.lock().expect("knobs").cilium = CiliumImage::Mute;
    let mute = environment.cilium(&cluster, CiliumQuery::Status).await.expect("asked");
    let error = mute[0].output.as_ref().expect_err("no output").to_string();
    assert!(error.contains("without output"), "{error}");
    run.tear_down().await.expect("tears down");
}
