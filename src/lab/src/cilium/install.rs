//! What Cilium's Helm chart installs, as complete objects in the order of their creation.

mod certificate;
mod mesh_apiserver;
pub(crate) mod release;
mod secret;
mod spire;
pub(crate) mod values;
mod workload;

use super::config;
use crate::{
    crd,
    topology::{ClusterSpec, Topology},
};
use serde_json::{Value, json};
use values::Values;

/// The namespace of everything.
pub const NAMESPACE: &str = "kube-system";
/// The beginnings of references to images whose programs only run.
pub(super) const IDLE: [&str; 3] = [workload::ENVOY, workload::UI, spire::IMAGES];
/// Cilium's images, by the last part of their name.
pub(super) fn image(name: &str, version: &str) -> String {
    format!("quay.io/cilium/{name}:v{version}")
}

/// Every object of the chart for one cluster.
pub(super) fn objects(topology: &Topology, cluster: &ClusterSpec) -> Vec<Value> {
    let version = topology.settings().version;
    let values = Values::of(topology, cluster);
    let mut objects = crd::definitions();
    if values.is_on("gatewayAPI.enabled") {
        objects.extend(crd::gateway_api());
    }
    objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cilium-secrets"}}));
    let mut accounts = vec!["cilium", "cilium-operator", "clustermesh-apiserver"];
    let optional = [
        ("cilium-envoy", values.is_not_off("envoy.enabled")),
        ("hubble-relay", values.is_on("hubble.relay.enabled")),
        ("hubble-ui", values.is_on("hubble.ui.enabled")),
    ];
    accounts.extend(optional.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name));
    for name in accounts {
        objects.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name, json!({}))}));
    }
    objects.push(config_map("cilium-config", config::data(topology, cluster)));
    if values.is_on("hubble.relay.enabled") {
        objects.push(config_map(
            "hubble-relay-config",
            json!({"config.yaml": relay_config(cluster)}),
        ));
    }
    match secret::secrets(topology, cluster) {
        Ok(secrets) => objects.extend(secrets),
        Err(error) => tracing::error!(%error, cluster = cluster.name, "Cilium's secrets cannot be made"),
    }
    objects.extend(workload::services(cluster, &values));
    objects.extend([
        workload::agent(cluster, version, &values),
        workload::operator(version, values.count("operator.replicas")),
        mesh_apiserver::mesh_apiserver(topology, cluster, values.count("clustermesh.apiserver.replicas")),
    ]);
    if values.is_not_off("envoy.enabled") {
        objects.push(workload::envoy());
    }
    if values.is_on("hubble.relay.enabled") {
        objects.push(workload::relay(version, values.count("hubble.relay.replicas")));
    }
    if values.is_on("hubble.ui.enabled") {
        objects.push(workload::ui(values.count("hubble.ui.replicas")));
    }
    if values.is_on("authentication.mutual.spire.enabled")
        && values.is_on("authentication.mutual.spire.install.enabled")
    {
        objects.extend(spire::objects(
            values.text("authentication.mutual.spire.install.namespace"),
        ));
    }
    objects.push(release::secret(topology, cluster, &objects));
    objects
}

/// A certificate of Hubble's servers that ends in two days, as a Secret holds it.
pub(crate) fn expiring_certificate(cluster: &str) -> Result<String, certificate::CertificateError> {
    let pem = certificate::ending(&format!("*.{cluster}.hubble-grpc.cilium.io"), 2)?;
    Ok(secret::encoded(&pem))
}

/// Metadata as Helm leaves it.
fn meta(name: &str, labels: Value) -> Value {
    meta_in(NAMESPACE, name, labels)
}

fn meta_in(namespace: &str, name: &str, labels: Value) -> Value {
    let mut all = json!({"app.kubernetes.io/managed-by": "Helm"});
    if let (Some(all), Some(labels)) = (all.as_object_mut(), labels.as_object()) {
        all.extend(labels.clone());
    }
    json!({
        "name": name,
        "namespace": namespace,
        "labels": all,
        "annotations": {"meta.helm.sh/release-name": "cilium", "meta.helm.sh/release-namespace": NAMESPACE},
    })
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name, json!({})), "data": data})
}

fn relay_config(cluster: &ClusterSpec) -> String {
    format!(
        "cluster-name: {}\npeer-service: \"hubble-peer.kube-system.svc.cluster.local.:443\"\nlisten-address: \
         :4245\ngops: true\ngops-port: \"9893\"\nretry-timeout: \nsort-buffer-len-max: \nsort-buffer-drain-timeout: \
         \ntls-hubble-client-cert-file: /var/lib/hubble-relay/tls/client.crt\ntls-hubble-client-key-file: \
         /var/lib/hubble-relay/tls/client.key\ntls-hubble-server-ca-files: \
         /var/lib/hubble-relay/tls/hubble-server-ca.crt\n\ndisable-server-tls: true\n",
        cluster.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::{Resource, Store};

    #[test]
    fn the_api_server_takes_every_object() {
        let topology = Topology::default();
        let store = Store::new();
        for object in objects(&topology, &topology.clusters[0]) {
            let (group, kind) = (
                object["apiVersion"].as_str().unwrap(),
                object["kind"].as_str().unwrap().to_owned(),
            );
            let group = group.split_once('/').map_or("", |(group, _)| group).to_owned();
            let plural = format!("{}s", kind.to_lowercase());
            let name = object["metadata"]["name"].clone();
            if let Err(error) = store.create(&Resource::new(group, plural), object) {
                panic!("{kind} {name}: {error:?}");
            }
        }
    }

    #[test]
    fn every_selector_selects_its_own_pods() {
        let topology = Topology::default();
        let objects = objects(&topology, &topology.clusters[1]);
        let is_workload = |object: &&Value| object["spec"]["template"].is_object();
        let workloads: Vec<_> = objects.iter().filter(is_workload).collect();
        assert_eq!(workloads.len(), 6);
        for workload in workloads {
            let spec = &workload["spec"];
            let labels = &spec["template"]["metadata"]["labels"];
            for (key, value) in spec["selector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(&labels[key], value, "{}", workload["metadata"]["name"]);
            }
        }
    }
}
