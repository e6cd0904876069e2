//! What people do to objects of the API, and how it is undone. The rest follows by itself: controllers, kubelets and
//! programs act on what they find.

mod chain;
mod edit;
mod platform;

use super::targets::{self, Missing};
use crate::{
    cilium::expiring_certificate,
    fault::Fault,
    kube_proxy, others,
    state::{ClusterState, LabState, Place},
};
pub(super) use edit::Undo;
use edit::{Edit, Target};
use meshproof_apiserver::{
    Resource,
    resource::names::{
        API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS, DAEMON_SETS, DEPLOYMENTS, EVENTS, LEASES, MUTATING_WEBHOOKS,
        NAMESPACES, PODS, SECRETS, SERVICES, STATEFUL_SETS, VALIDATING_WEBHOOKS,
    },
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where Cilium is installed.
const SYSTEM: &str = "kube-system";
/// Where kubelets keep their Leases.
const NODE_LEASES: &str = "kube-node-lease";
/// A resource of Cilium that nothing of the lab needs.
const POOLS: &str = "ciliumloadbalancerippools.cilium.io";

/// Makes the changes of a fault where it was drawn; what undoes them.
pub(super) fn change(lab: &LabState, fault: Fault) -> Result<Vec<Undo>, Missing> {
    if let Some((cluster, edits)) = platform::edits(lab, fault)? {
        return edits.into_iter().map(|edit| edit.carry_out(cluster)).collect();
    }
    let place = lab.drawn.place(fault).ok_or("no place was drawn")?;
    let cluster = match fault {
        // Only some clusters have it.
        Fault::SpireServerScaledToZero => lab.clusters.iter().find(|cluster| cluster.spec.mutual_authentication),
        _ => lab.cluster(&place.cluster),
    };
    let cluster = cluster.ok_or("the cluster is not there")?;
    let edits = match chain::edits(cluster, fault, &place)? {
        Some(edits) => edits,
        None => edits(cluster, fault, &place)?,
    };
    edits.into_iter().map(|edit| edit.carry_out(cluster)).collect()
}

fn edits(cluster: &Arc<ClusterState>, fault: Fault, place: &Place) -> Result<Vec<Edit>, Missing> {
    Ok(match fault {
        Fault::AgentRolloutStopped => {
            let agents = Target::in_namespace(DAEMON_SETS, SYSTEM, "cilium");
            let older = older_image(cluster, &DAEMON_SETS, "cilium")?;
            vec![
                Edit::Change(
                    agents,
                    Box::new(move |set| {
                        set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
                        image_of(set, 0).clone_from(&older);
                    }),
                ),
                Edit::Renew(pod(cluster, "cilium", Some(&place.node))?),
            ]
        }
        Fault::ApiServiceUnavailable => vec![Edit::Create(API_SERVICES, metrics_api())],
        Fault::CrdMissing => vec![Edit::Delete(Target::cluster_wide(CUSTOM_RESOURCE_DEFINITIONS, POOLS))],
        Fault::CrdStoredVersionUnserved => stale_definition(),
        Fault::DebugContainerLeft => {
            let container = json!([{"name": "debugger-x7k2p", "image": "busybox", "stdin": true, "tty": true}]);
            let relay = pod(cluster, "hubble-relay", None)?;
            vec![
                Edit::RenewAfterwards(relay.clone()),
                Edit::Change(
                    relay,
                    Box::new(move |pod| pod["spec"]["ephemeralContainers"].clone_from(&container)),
                ),
            ]
        }
        Fault::GlobalAffinityWrittenNone => {
            let service = Target::in_namespace(SERVICES, others::NAMESPACE, "echo");
            vec![Edit::Change(
                service,
                Box::new(|set| set["metadata"]["annotations"]["service.cilium.io/affinity"] = json!("none")),
            )]
        }
        Fault::HubbleCertificateExpiring => {
            let certificate = expiring_certificate(cluster.name()).map_err(|error| error.to_string())?;
            let secret = Target::in_namespace(SECRETS, SYSTEM, "hubble-server-certs");
            vec![Edit::Change(
                secret,
                Box::new(move |secret| secret["data"]["tls.crt"] = json!(certificate)),
            )]
        }
        Fault::HubbleRelayScaledToZero => vec![scaled_to_zero("hubble-relay")],
        Fault::OperatorScaledToZero => vec![scaled_to_zero("cilium-operator")],
        Fault::KubeProxyLeft => vec![Edit::Create(DAEMON_SETS, kube_proxy::daemon_set())],
        Fault::LinkerdLeft => linkerd(),
        Fault::NamespaceStuck => stuck_namespace(),
        Fault::NodeDeleted => vec![Edit::Create(EVENTS, removal(cluster.name()))],
        Fault::NodeLeaseLeft => vec![Edit::Create(LEASES, lease_of_nobody(cluster.name()))],
        Fault::OperatorCrashLoop => vec![in_template("cilium-operator", |pod| {
            if let Some(args) = pod["containers"][0]["args"].as_array_mut() {
                args.push(json!("--enable-new-things=true"));
            }
        })],
        Fault::OperatorVersionDiffers => {
            let older = older_image(cluster, &DEPLOYMENTS, "cilium-operator")?;
            let operator = Target::in_namespace(DEPLOYMENTS, SYSTEM, "cilium-operator");
            vec![Edit::Change(
                operator,
                Box::new(move |object| image_of(object, 0).clone_from(&older)),
            )]
        }
        Fault::RelayRolloutStuck => {
            vec![in_template("hubble-relay", |pod| {
                pod["nodeSelector"]["disktype"] = json!("nvme")
            })]
        }
        Fault::SpireServerScaledToZero => {
            let server = Target::in_namespace(STATEFUL_SETS, targets::SPIRE, "spire-server");
            vec![Edit::Change(
                server,
                Box::new(|object| object["spec"]["replicas"] = json!(0)),
            )]
        }
        Fault::WebhookLeft => vec![Edit::Create(VALIDATING_WEBHOOKS, cert_manager_webhook())],
        _ => return Err(format!("{fault} changes no object")),
    })
}

/// The image of a workload of Cilium's in the patch release before.
fn older_image(cluster: &ClusterState, of: &Resource, name: &str) -> Result<Value, Missing> {
    let found = cluster
        .store
        .get(of, Some(SYSTEM), name)
        .map_err(|error| error.to_string())?;
    let mut object = Value::clone(&found);
    let image = image_of(&mut object, 0).as_str().unwrap_or_default();
    let before = image.rsplit_once('.').and_then(|(release, patch)| {
        let patch: u32 = patch.parse().ok()?;
        Some(json!(format!("{release}.{}", patch.checked_sub(1)?)))
    });
    before.ok_or_else(|| format!("{name} has the image {image:?}, before which there is none"))
}

fn image_of(workload: &mut Value, container: usize) -> &mut Value {
    &mut workload["spec"]["template"]["spec"]["containers"][container]["image"]
}

fn scaled_to_zero(deployment: &str) -> Edit {
    let target = Target::in_namespace(DEPLOYMENTS, SYSTEM, deployment);
    Edit::Change(target, Box::new(|object| object["spec"]["replicas"] = json!(0)))
}

/// A change of the pods that a Deployment makes.
fn in_template(deployment: &str, change: fn(&mut Value)) -> Edit {
    let target = Target::in_namespace(DEPLOYMENTS, SYSTEM, deployment);
    Edit::Change(
        target,
        Box::new(move |object| change(&mut object["spec"]["template"]["spec"])),
    )
}

/// A pod of Cilium's, on this node or any.
fn pod(cluster: &ClusterState, app: &str, node: Option<&str>) -> Result<Target, Missing> {
    let pods = cluster.store.all(&PODS, Some(SYSTEM));
    let mut of_app = pods
        .iter()
        .filter(|pod| pod.label("k8s-app") == Some(app) && !pod.is_terminating());
    let found = of_app.find(|pod| node.is_none_or(|node| pod["spec"]["nodeName"] == node));
    let found = found.ok_or_else(|| format!("there is no pod of {app}"))?;
    Ok(Target::in_namespace(PODS, SYSTEM, found.name()))
}

/// What the node controller says of a Node that somebody has deleted; of the node nothing else is left.
fn removal(cluster: &str) -> Value {
    let (name, now) = (format!("{cluster}-gone"), crate::object::now());
    json!({
        "apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": "RemovingNode",
        "metadata": {"name": format!("{name}.18a0c3d5"), "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": name, "uid": name},
        "message": format!("Node {name} event: Removing Node {name} from Controller"),
        "source": {"component": "node-controller"}, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
    })
}

/// As a kubelet goes on renewing it whose Node was deleted.
fn lease_of_nobody(cluster: &str) -> Value {
    let name = format!("{cluster}-gone");
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": NODE_LEASES},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": crate::object::now()},
    })
}

/// As metrics-server registers itself, after it was removed.
fn metrics_api() -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io", "labels": {"k8s-app": "metrics-server"}},
        "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"name": "metrics-server", "namespace": SYSTEM, "port": 443},
        },
        "status": {"conditions": [{
            "type": "Available", "status": "False", "reason": "ServiceNotFound",
            "message": "service/metrics-server in \"kube-system\" is not present",
            "lastTransitionTime": crate::object::now(),
        }]},
    })
}

fn stale_definition() -> Vec<Edit> {
    let target = || Target::cluster_wide(CUSTOM_RESOURCE_DEFINITIONS, POOLS);
    let unserve = |object: &mut Value| {
        let versions = object["spec"]["versions"].as_array_mut().into_iter().flatten();
        for version in versions.filter(|version| version["storage"] != true) {
            version["served"] = json!(false);
        }
    };
    let store = |object: &mut Value| object["status"]["storedVersions"] = json!(["v2alpha1", "v2"]);
    vec![
        Edit::Change(target(), Box::new(unserve)),
        Edit::ChangeStatus(target(), Box::new(store)),
    ]
}

/// A webhook whose Service is gone, which asks nothing that anybody here does.
fn webhook(name: &str, service: (&str, &str), policy: &str, rule: Value) -> Value {
    let (namespace, of) = service;
    json!([{
        "name": name, "failurePolicy": policy, "sideEffects": "None", "timeoutSeconds": 10,
        "admissionReviewVersions": ["v1"], "matchPolicy": "Equivalent",
        "clientConfig": {"service": {"namespace": namespace, "name": of, "path": "/", "port": 443}, "caBundle": ""},
        "rules": [rule],
    }])
}

fn cert_manager_webhook() -> Value {
    let rule = json!({"apiGroups": ["cert-manager.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["*/*"], "scope": "*"});
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "cert-manager-webhook", "labels": {"app.kubernetes.io/name": "webhook"}},
        "webhooks": webhook("webhook.cert-manager.io", ("cert-manager", "cert-manager-webhook"), "Fail", rule),
    })
}

/// What `linkerd uninstall` leaves when it is stopped half way. Without a server behind it, and with failurePolicy
/// Ignore, its webhook changes nothing.
fn linkerd() -> Vec<Edit> {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["pods", "services"], "scope": "Namespaced"});
    let service = ("linkerd", "linkerd-proxy-injector");
    let injector = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "linkerd-proxy-injector-webhook-config",
            "labels": {"linkerd.io/control-plane-component": "proxy-injector"}},
        "webhooks": webhook("linkerd-proxy-injector.linkerd.io", service, "Ignore", rule),
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "linkerd", "labels": {"linkerd.io/is-control-plane": "true"}}});
    vec![
        Edit::Create(NAMESPACES, namespace),
        Edit::Create(MUTATING_WEBHOOKS, injector),
    ]
}

/// A namespace whose deletion cannot go on, as the namespace controller reports it.
fn stuck_namespace() -> Vec<Edit> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "monitoring-old", "finalizers": ["example.com/hold"]}});
    let target = || Target::cluster_wide(NAMESPACES, "monitoring-old");
    let report = |object: &mut Value| {
        let message = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server \
                       APIs: metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1";
        object["status"]["conditions"] = json!([{
            "type": "NamespaceDeletionDiscoveryFailure", "status": "True", "reason": "DiscoveryFailed",
            "message": message, "lastTransitionTime": crate::object::now(),
        }]);
    };
    vec![
        Edit::Create(NAMESPACES, namespace),
        Edit::Terminate(target()),
        Edit::ChangeStatus(target(), Box::new(report)),
    ]
}
