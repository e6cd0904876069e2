//! Does cluster DNS tell pods the truth, from every node and out of every replica?

mod endpoints;

pub mod absent_name;
pub mod headless_service;
pub mod latency;
pub mod replica_answers;
pub mod replica_learns;
pub mod reverse_name;
pub mod search_names;
pub mod service_name;
pub mod service_record;

use meshproof_contract::{Admission, Needs, Suite};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "dns",
    about: "Cluster DNS gives the right answers to the pods of every node, over UDP and TCP, out of every replica: service names, short names, reverse names, headless services, and the right code for names that do not exist.",
    checks: &[
        &service_name::UDP,
        &service_name::TCP,
        &search_names::SearchNames,
        &absent_name::AbsentName,
        &reverse_name::ReverseName,
        &headless_service::HeadlessService,
        &service_record::ServiceRecord,
        &replica_answers::ReplicaAnswers,
        &replica_learns::ReplicaLearns,
        &latency::Latency,
    ],
};

/// What every check of the suite needs.
const NEEDS: Needs = Needs {
    scenario: Some(crate::kit::matrix::SCENARIO),
    claim: None,
    admission: Admission::Shared,
    mutates: false,
};

/// What measures time needs: nothing else of ours on the path meanwhile.
const ALONE: Needs = Needs {
    admission: Admission::Exclusive,
    ..NEEDS
};
