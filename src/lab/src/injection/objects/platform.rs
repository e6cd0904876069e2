//! What people do to the platform of others: its policies, and where it runs.

use super::edit::{Edit, Target};
use crate::{
    fault::Fault,
    platform::{DEPLOYMENT, NAMESPACE, POLICY, denying_policy},
    state::{ClusterState, LabState},
};
use meshproof_apiserver::{Resource, resource::names::DEPLOYMENTS};
use serde_json::json;
use std::sync::Arc;

const POLICIES: Resource = Resource::of("cilium.io", "ciliumnetworkpolicies");

/// Changes, and the cluster in which they are made.
type Placed<'a> = (&'a Arc<ClusterState>, Vec<Edit>);

/// The changes of a fault; none of faults that are not about the platform.
pub(super) fn edits(lab: &LabState, fault: Fault) -> Result<Option<Placed<'_>>, String> {
    let (first, last) = (lab.clusters.first(), lab.clusters.last());
    let (cluster, edit) = match fault {
        Fault::FlowAnsweredByOtherCluster => (last, scaled(1)),
        Fault::FlowServiceWithoutBackends => (first, scaled(0)),
        Fault::FlowClientDenied => (first, Edit::Create(POLICIES, denying_policy())),
        Fault::FlowPolicyMissing => (first, Edit::Delete(Target::in_namespace(POLICIES, NAMESPACE, POLICY))),
        _ => return Ok(None),
    };
    Ok(Some((cluster.ok_or("the lab has no cluster")?, vec![edit])))
}

fn scaled(replicas: u8) -> Edit {
    let deployment = Target::in_namespace(DEPLOYMENTS, NAMESPACE, DEPLOYMENT);
    Edit::Change(
        deployment,
        Box::new(move |deployment| deployment["spec"]["replicas"] = json!(replicas)),
    )
}
