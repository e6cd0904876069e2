//! Backends that are deleted, scaled and replaced.

use super::{
    super::{
        backend_deleted::BACKEND_DELETED, backend_unready::BACKEND_UNREADY, local_backends_gone::LOCAL_BACKENDS_GONE,
        scaled_to_zero::SCALED_TO_ZERO,
    },
    world::World,
};
use crate::testing::{infra, infra_to_apps};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_forgotten_in_time_is_green_and_one_that_is_kept_is_red() {
    World::new().expect(&BACKEND_DELETED, infra(), "pass").await;
    let kept = World::with(|world| world.forgets = Duration::from_secs(600));
    let text = kept.expect(&BACKEND_DELETED, infra(), "fail").await;
    for command in ["cilium-dbg service list", "get endpointslices", "hubble observe"] {
        assert!(text.contains(command), "{command}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_never_comes_hides_no_finding_and_lets_nothing_pass() {
    let alone = |forgets| World::with(|world| (world.replaces, world.forgets) = (None, forgets));
    alone(Duration::from_secs(600))
        .expect(&BACKEND_DELETED, infra(), "fail")
        .await;
    let text = alone(Duration::ZERO)
        .expect(&BACKEND_DELETED, infra(), "inconclusive")
        .await;
    assert!(text.contains("1 of at least 2 agents `backend`"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_data_path_has_its_time_from_when_the_endpoint_is_shown_as_gone() {
    let late = |shown, forgets| {
        World::with(|world| (world.shown, world.forgets) = (Duration::from_secs(shown), Duration::from_secs(forgets)))
    };
    let text = late(5, 1).expect(&BACKEND_DELETED, infra(), "pass").await;
    assert!(text.contains("shown_as_gone"), "{text}");
    late(5, 3).expect(&BACKEND_DELETED, infra(), "fail").await;
    let text = late(70, 0).expect(&BACKEND_DELETED, infra(), "fail").await;
    assert!(text.contains("is still shown as ready"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_fail_over_that_never_came_is_red_even_if_the_pods_never_return() {
    World::new().expect(&LOCAL_BACKENDS_GONE, infra_to_apps(), "pass").await;
    let gone = || World::with(|world| world.replaces = None);
    gone()
        .expect(&LOCAL_BACKENDS_GONE, infra_to_apps(), "inconclusive")
        .await;
    gone()
        .losing(|service, _| service == "failover-global")
        .expect(&LOCAL_BACKENDS_GONE, infra_to_apps(), "fail")
        .await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_never_return_hide_no_finding() {
    World::new().expect(&SCALED_TO_ZERO, infra(), "pass").await;
    let gone = || World::with(|world| world.replaces = None);
    gone().expect(&SCALED_TO_ZERO, infra(), "inconclusive").await;
    let silent = gone().losing(|service, since| {
        let affected = service == "failover-local";
        affected && since > Duration::from_secs(10) && since < Duration::from_secs(20)
    });
    silent.expect(&SCALED_TO_ZERO, infra(), "fail").await;
}

#[tokio::test(start_paused = true)]
async fn an_unready_backend_that_is_spared_in_time_is_green_and_one_that_is_kept_is_red() {
    let text = World::new().expect(&BACKEND_UNREADY, infra(), "pass").await;
    assert!(text.contains("answers new connections again"), "{text}");
    let kept = World::with(|world| world.forgets = Duration::from_secs(600));
    let text = kept.expect(&BACKEND_UNREADY, infra(), "fail").await;
    assert!(text.contains("no new traffic later than 2000 ms"), "{text}");
}
