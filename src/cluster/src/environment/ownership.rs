//! What checks may change: objects of the run, and nothing else.

use crate::{client::ClusterClient, name::NAMESPACES};
use kube::discovery::Scope;
use meshproof_contract::{EnvironmentError, ObjectRef};

/// The one cluster-wide kind that checks may make.
const CLUSTER_POLICY: &str = "CiliumClusterwideNetworkPolicy";

/// Checks change objects in the run's namespaces only, and never the Lease that guards them; outside of them only
/// cluster-wide policies whose names begin with `meshproof-`, which a policy's text must keep to the run's own pods.
pub(super) async fn require_own(client: &ClusterClient, object: &ObjectRef) -> Result<(), EnvironmentError> {
    let refused = || EnvironmentError::NotOurs {
        cluster: client.name().clone(),
        object: match &object.namespace {
            Some(ns) => format!("{} {ns}/{}", object.kind, object.name),
            None => format!("{} {}", object.kind, object.name),
        },
    };
    if object.kind == CLUSTER_POLICY && object.namespace.is_none() && object.name.starts_with("meshproof-") {
        return Ok(());
    }
    let within = object.namespace.as_deref().is_some_and(|ns| NAMESPACES.contains(&ns));
    if !within || object.kind == "Lease" || object.name.is_empty() {
        return Err(refused());
    }
    // A namespace in the reference to a cluster-wide object means nothing.
    match client.dynamic_of(object).await?.scope {
        Scope::Namespaced => Ok(()),
        Scope::Cluster => Err(refused()),
    }
}
