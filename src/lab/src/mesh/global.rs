//! Global services: which services are merged across clusters, by Cilium's annotations, and with which backends. Pure.

use super::keyspace::{KeyKind, Snapshot, of_kind};
use crate::service::{RemoteBackend, ServiceKey};
use meshproof_apiserver::Object;
use meshproof_datapath::{BackendState, Protocol};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Whether a service asks to be merged: `service.cilium.io/global`, or the older `io.cilium/global-service`.
pub fn is_global(service: &Object) -> bool {
    annotation(service, "service.cilium.io/global", "io.cilium/global-service").is_some_and(is_true)
}

/// Whether a service asks to be merged to someone who knows the newer annotation only.
pub fn is_global_by_newer(service: &Object) -> bool {
    service.annotation("service.cilium.io/global").is_some_and(is_true)
}

/// Whether a global service's own backends are shown to other clusters; true unless it says otherwise.
pub fn is_shared(service: &Object) -> bool {
    annotation(service, "service.cilium.io/shared", "io.cilium/shared-service").is_none_or(is_true)
}

/// The newer annotation counts when both are there (`pkg/annotation` of Cilium).
fn annotation<'a>(service: &'a Object, name: &str, legacy: &str) -> Option<&'a str> {
    service.annotation(name).or(service.annotation(legacy))
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

/// A service as it is published (`pkg/clustermesh/store.ClusterService`): backends with their ports by name; by a fault
/// `unready` ones, too.
pub fn published(cluster: &str, id: u8, service: &Object, slices: &[&Object], unready: bool) -> Value {
    let mut backends: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice["addressType"] == "IPv4") {
        let ports: BTreeMap<String, Value> = list(&slice["ports"])
            .map(|port| {
                (
                    text(&port["name"]).to_owned(),
                    port_of(&port["protocol"], &port["port"]),
                )
            })
            .collect();
        let ready = list(&slice["endpoints"]).filter(|endpoint| unready || endpoint["conditions"]["ready"] != false);
        for address in ready.flat_map(|endpoint| list(&endpoint["addresses"])) {
            backends
                .entry(text(address).to_owned())
                .or_default()
                .extend(ports.clone());
        }
    }
    let frontends: BTreeMap<String, Value> = list(&service["spec"]["ports"])
        .map(|port| {
            (
                text(&port["name"]).to_owned(),
                port_of(&port["protocol"], &port["port"]),
            )
        })
        .collect();
    let address = text(&service["spec"]["clusterIP"]);
    json!({
        "cluster": cluster,
        "clusterID": id,
        "namespace": service.namespace(),
        "name": service.name(),
        "frontends": {address: frontends},
        "backends": backends,
        "labels": service["metadata"]["labels"],
        "selector": service["spec"]["selector"],
        "includeExternal": is_global(service),
        "shared": is_shared(service),
    })
}

fn port_of(protocol: &Value, port: &Value) -> Value {
    json!({"Protocol": protocol.as_str().unwrap_or("TCP"), "Port": port})
}

/// The backends that the other clusters' published services add to these local ones. `merges` says of a local service
/// and a published one whether they belong together beyond name and namespace.
pub fn merged<'a>(
    services: impl Iterator<Item = &'a Object>,
    remote: &[Snapshot],
    merges: impl Fn(&Object, &Value) -> bool,
) -> BTreeMap<ServiceKey, Vec<RemoteBackend>> {
    let mut published: BTreeMap<(&str, &str), Vec<&Value>> = BTreeMap::new();
    for (_, service) in remote.iter().flat_map(|snapshot| of_kind(snapshot, KeyKind::Service)) {
        published
            .entry((text(&service["namespace"]), text(&service["name"])))
            .or_default()
            .push(service);
    }
    let mut found = BTreeMap::new();
    for service in services {
        let namespace = service.namespace().unwrap_or_default();
        let twins = published.get(&(namespace, service.name())).into_iter().flatten();
        let backends: Vec<_> = twins
            .filter(|twin| merges(service, twin))
            .flat_map(|twin| backends(twin))
            .collect();
        if !backends.is_empty() {
            found.insert(ServiceKey::new(namespace, service.name()), backends);
        }
    }
    found
}

fn backends(service: &Value) -> impl Iterator<Item = RemoteBackend> {
    service["backends"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(address, ports)| {
            let ports = ports.as_object()?.iter().filter_map(|(name, port)| {
                let protocol = match port["Protocol"].as_str()? {
                    "TCP" => Protocol::Tcp,
                    "UDP" => Protocol::Udp,
                    _ => return None,
                };
                Some((name.clone(), (protocol, u16::try_from(port["Port"].as_u64()?).ok()?)))
            });
            Some(RemoteBackend {
                cluster: text(&service["cluster"]).to_owned(),
                address: address.parse::<Ipv4Addr>().ok()?,
                ports: ports.collect(),
                state: BackendState::Active,
            })
        })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::{
        Store,
        resource::names::{ENDPOINT_SLICES, SERVICES},
    };
    use std::sync::Arc;

    fn service(annotations: Value) -> Object {
        let spec = json!({"clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 80}]});
        let meta = json!({"namespace": "default", "name": "web", "annotations": annotations});
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec});
        Store::new().create(&SERVICES, object).unwrap()
    }

    fn slice() -> Object {
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.246.1.5"], "conditions": {"ready": true}},
                {"addresses": ["10.246.1.6"], "conditions": {"ready": false}},
            ],
        });
        Store::new().create(&ENDPOINT_SLICES, object).unwrap()
    }

    #[test]
    fn both_annotations_are_known_and_the_newer_wins() {
        assert!(is_global(&service(json!({"service.cilium.io/global": "true"}))));
        assert!(is_global(&service(json!({"io.cilium/global-service": "true"}))));
        let both = json!({"service.cilium.io/global": "false", "io.cilium/global-service": "true"});
        assert!(!is_global(&service(both)));
        assert!(!is_global(&service(json!({}))));
    }

    #[test]
    fn a_global_service_is_shared_unless_it_says_otherwise() {
        assert!(is_shared(&service(json!({"service.cilium.io/global": "true"}))));
        assert!(!is_shared(&service(json!({"service.cilium.io/shared": "false"}))));
        assert!(!is_shared(&service(json!({"io.cilium/shared-service": "false"}))));
    }

    #[test]
    fn only_ready_backends_are_published_and_both_sides_must_agree() {
        let global = service(json!({"service.cilium.io/global": "true"}));
        let remote = published("apps", 2, &global, &[&slice()], false);
        let key = KeyKind::Service.key("apps/default/web");
        let remote = [Snapshot::from([(key, Arc::new(remote))])];
        let merges = |local: &Object, _: &Value| is_global(local);
        let found = merged([&global].into_iter(), &remote, merges);
        let backends = &found[&ServiceKey::new("default", "web")];
        assert_eq!(backends.len(), 1, "only the ready pod: {backends:?}");
        assert_eq!(backends[0].address, Ipv4Addr::new(10, 246, 1, 5));
        assert_eq!(backends[0].ports["http"], (Protocol::Tcp, 8080));
        let plain = service(json!({}));
        assert!(
            merged([&plain].into_iter(), &remote, merges).is_empty(),
            "a twin without annotation is not merged"
        );
    }
}
