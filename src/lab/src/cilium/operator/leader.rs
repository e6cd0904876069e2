//! Leader election by a Lease, as Kubernetes' client library does it, with the operator's defaults.

use crate::{fault::Fault, object, system::SystemContainer};
use jiff::Timestamp;
use meshproof_apiserver::{ApiError, Object, Store, resource::names::LEASES};
use serde_json::{Value, json};
use std::time::Duration;

/// `cilium-operator-resource-lock` in Cilium's namespace.
const NAME: &str = "cilium-operator-resource-lock";
/// `leader-election-lease-duration`, `leader-election-retry-period`.
const LEASE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(2);

/// Holds the Lease, or waits for it, until the container ends; then gives it back.
pub(super) async fn lead(container: &SystemContainer) {
    let store = container.cluster.store.writing_as("cilium-operator-generic");
    let namespace = container.pod.namespace().unwrap_or("kube-system").to_owned();
    // The hostname, which is the node's, and a random end.
    let end: String = uuid::Uuid::new_v4().simple().to_string().chars().take(10).collect();
    let own = format!("{}-{end}", container.node.name());
    loop {
        if !container.lab.acts_in(Fault::OperatorHangs, container.cluster.name())
            && let Err(error) = hold(&store, &namespace, &own)
        {
            container.log.line(format!(
                "level=error msg=\"error retrieving resource lock\" error={error}"
            ));
        }
        let pause = tokio::time::sleep(RETRY);
        if container.stop.run_until_cancelled(pause).await.is_none() {
            break;
        }
    }
    let _ = store.modify(&LEASES, Some(&namespace), NAME, |lease| {
        if lease["spec"]["holderIdentity"] == own.as_str() {
            lease["spec"].as_object_mut().map(|spec| spec.remove("holderIdentity"));
            lease["spec"]["leaseDurationSeconds"] = json!(1);
        }
    });
}

/// Takes the Lease if nobody has it, or renews it.
fn hold(store: &Store, namespace: &str, own: &str) -> Result<(), ApiError> {
    let now = || json!(format!("{:.6}", Timestamp::now()));
    let Some(lease) = store.find(&LEASES, Some(namespace), NAME) else {
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {
                "holderIdentity": own, "leaseDurationSeconds": LEASE.as_secs(), "leaseTransitions": 0,
                "acquireTime": now(), "renewTime": now(),
            },
        });
        return store.create(&LEASES, object).map(|_| ());
    };
    let is_own = lease["spec"]["holderIdentity"] == own;
    if !is_own && !is_free(&lease) {
        return Ok(());
    }
    let take = |lease: &mut Value| {
        let spec = &mut lease["spec"];
        if !is_own {
            spec["leaseTransitions"] = json!(spec["leaseTransitions"].as_u64().unwrap_or(0) + 1);
            spec["acquireTime"] = now();
            spec["holderIdentity"] = json!(own);
            spec["leaseDurationSeconds"] = json!(LEASE.as_secs());
        }
        spec["renewTime"] = now();
    };
    store.modify(&LEASES, Some(namespace), NAME, take).map(|_| ())
}

/// Whether nobody holds it, or whoever did has not renewed it in its time.
fn is_free(lease: &Object) -> bool {
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    holder.is_empty() || object::since(&lease["spec"]["renewTime"]).is_none_or(|age| age > LEASE)
}
