//! Watches of the clusters in memory.

use super::*;
use crate::{
    failover::tests::world::World,
    testing::{infra, infra_to_apps},
};
use meshproof_contract::{Disruption, Environment, ObjectRef};
use std::sync::Arc;

/// Watches a world for 20 s, in which something happens after 5 s.
async fn watched(world: World, watch: Watch, happens: impl AsyncFnOnce(&World)) -> Verdict {
    let world = Arc::new(world);
    let instance = match watch.0 {
        Scope::Direction => infra_to_apps(),
        _ => infra(),
    };
    let context = CheckContext::new(Arc::clone(&world) as Arc<dyn Environment>, instance);
    let watching = context.shared.of::<Watching>();
    let happening = async {
        sleep(Duration::from_secs(5)).await;
        happens(&world).await;
        sleep(Duration::from_secs(15)).await;
        watching.end();
    };
    let (verdict, ()) = futures::join!(watch.run(&context), happening);
    verdict
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass { witnesses } => witnesses.iter().map(|w| w.what.clone()).collect::<Vec<_>>().join("\n"),
        Verdict::Fail { findings } => findings
            .iter()
            .map(|f| format!("{}: {} but {}", f.subject, f.expected, f.observed))
            .collect::<Vec<_>>()
            .join("\n"),
        Verdict::Inconclusive { why } | Verdict::Skipped { why } => why.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_and_nothing_is_lost() {
    for watch in [Watch(Scope::Cluster), Watch(Scope::Direction)] {
        let verdict = watched(World::new(), watch, async |_: &World| {}).await;
        let said = said(&verdict);
        assert_eq!(verdict.word(), "pass", "{said}");
        assert!(
            said.contains(": 0 of ") && said.contains("new TCP connections"),
            "{said}"
        );
    }
}

/// A world that loses what goes to a Service for so long once something was disrupted.
async fn losing(seconds: u64, watch: Watch) -> Verdict {
    let world = World::new().losing(move |_, since| since < Duration::from_secs(seconds));
    watched(world, watch, async |world: &World| {
        let disrupted = world.disrupt(&"infra".into(), &Disruption::MeshApiServerDown).await;
        disrupted.expect("disrupted");
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_red_with_its_time_and_length() {
    let verdict = losing(2, Watch(Scope::Cluster)).await;
    let said = said(&verdict);
    assert_eq!(verdict.word(), "fail", "{said}");
    assert!(said.contains("99.9% answered, and no outage over 60s"), "{said}");
    assert!(said.contains("20 of 2") && said.contains("for 2000 ms"), "{said}");
    assert!(said.contains("nothing was seen to change near it"), "{said}");
    assert!(!said.contains("pod on"), "pods were reached: {said}");
    let verdict = losing(2, Watch(Scope::Direction)).await;
    assert_eq!(verdict.word(), "fail");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_replaced_is_followed_and_no_outage() {
    let verdict = watched(World::new(), Watch(Scope::Cluster), async |world: &World| {
        let neighbours = world
            .agents(&"infra".into(), SCENARIO, "neighbour")
            .await
            .expect("neighbours");
        for neighbour in neighbours {
            let pod = ObjectRef::namespaced("v1", "Pod", "meshproof", &neighbour.id.pod);
            world.delete(&"infra".into(), &pod).await.expect("deleted");
        }
    })
    .await;
    let said = said(&verdict);
    assert_eq!(verdict.word(), "pass", "{said}");
    assert!(said.contains("pod on infra-"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_an_answer_is_red() {
    let verdict = losing(60, Watch(Scope::Cluster)).await;
    assert_eq!(verdict.word(), "fail", "{}", said(&verdict));
}
