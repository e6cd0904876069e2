//! Clusters in memory, for the checks' own tests: a network, cluster DNS, an API and Cilium's answers, each of
//! which a test can break. A suite whose checks need time or captures extends it in its own tests.

pub mod blind;
mod captures;
mod cilium;
mod course;
mod environment;
mod fake;
mod kube;
mod network;
mod resolver;
mod run;
mod topology;

pub use captures::Captures;
pub use fake::Fake;
pub use kube::{NODE_PORT, mesh_pod};
pub use network::{Ask, denied, dns_answer, dns_code, dns_records, identity_of, local_error, timeout};
pub use topology::{MISSION, Shape, Site, service_net};

use meshproof_contract::{Check, FlowKind, Instance, Scope};

/// The instance on cluster infra.
pub fn infra() -> Instance {
    Instance::Cluster("infra".into())
}
/// The instance from infra to apps.
pub fn infra_to_apps() -> Instance {
    Instance::Direction {
        from: "infra".into(),
        to: "apps".into(),
    }
}

/// The instance on a flow of the test world's, which all start in `infra`.
pub fn flow(name: &str) -> Instance {
    Instance::Flow {
        from: "infra".into(),
        name: name.to_owned(),
    }
}

/// An instance of the check's scope.
pub fn instance_of(check: &dyn Check) -> Instance {
    match check.scope() {
        Scope::Cluster => infra(),
        Scope::Direction => infra_to_apps(),
        Scope::Flow(kind) => flow(match kind {
            FlowKind::Allowed => "allowed",
            FlowKind::Denied => "denied",
            FlowKind::Encrypted => "encrypted",
        }),
    }
}
