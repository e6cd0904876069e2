//! All checks against a mesh that works, and those that change objects or readiness against meshes that do not.

use super::{
    super::{
        SUITE, annotation::AnnotationChange, fallback::Fallback, remote_backends, traffic_policy::TrafficPolicy,
        unready::Unready,
    },
    mesh::{Ignores, complete, ignoring},
};
use crate::testing::instance_of;
use meshproof_contract::Check;

#[tokio::test(start_paused = true)]
async fn every_check_is_green_where_the_mesh_works_and_leaves_nothing_behind() {
    for check in SUITE.checks {
        let (said, left) = complete().run(*check, instance_of(*check)).await;
        assert!(said.starts_with("pass\n"), "{}: {said}", check.id());
        let services: Vec<&String> = left
            .iter()
            .filter(|name| name.starts_with("\"svc-") && name.len() > 30)
            .collect();
        assert!(services.is_empty(), "{}: {services:?}", check.id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_does_not_follow_a_change_is_red() {
    let cases: [(Ignores, &dyn Check, &str); 8] = [
        (
            Ignores::GlobalAnnotation,
            &AnnotationChange,
            "unexpected answers from pods of apps",
        ),
        (
            Ignores::SharedAnnotation,
            &remote_backends::UNSHARED,
            "unexpected answers from pods of apps",
        ),
        (Ignores::RemoteBackends, &remote_backends::ONLY, "all requests fail"),
        (Ignores::Readiness, &Unready, "it still answers"),
        (Ignores::Fallback, &Fallback, "all requests fail"),
        (
            Ignores::ExternalPolicy,
            &TrafficPolicy,
            "no answer, since infra-2 has no backend",
        ),
        (
            Ignores::InternalPolicy,
            &TrafficPolicy,
            "the only backend is on infra-1",
        ),
        (Ignores::Source, &TrafficPolicy, "it sees 10.25.11.11"),
    ];
    for (ignores, check, expected) in cases {
        let text = ignoring(ignores).expect(check, instance_of(check), "fail").await;
        assert!(text.contains(expected), "{text}");
    }
}
