//! EndpointSlices of other clusters' pods (`clustermesh-enable-endpoint-sync`), as Cilium's operator writes them for
//! those who read slices, such as cluster DNS: of global headless services unless these say otherwise, of others only
//! if they ask for it.

use super::global::is_global;
use crate::service::{MESH_SLICES, RemoteBackend, ServiceKey};
use meshproof_apiserver::{ApiError, DeleteOptions, Object, Store, resource::names::ENDPOINT_SLICES};
use meshproof_datapath::{BackendState, Protocol};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SYNC: &str = "service.cilium.io/global-sync-endpoint-slices";

/// Makes the slices of other clusters' pods what these backends say.
pub(super) fn sync(store: &Store, services: &[Object], remote: &BTreeMap<ServiceKey, Vec<RemoteBackend>>) {
    let mut wanted = BTreeMap::new();
    for service in services.iter().filter(|service| is_global(service) && syncs(service)) {
        let namespace = service.namespace().unwrap_or_default();
        let backends = remote
            .get(&ServiceKey::new(namespace, service.name()))
            .map_or(&[][..], Vec::as_slice);
        let mut by_cluster: BTreeMap<&str, Vec<&RemoteBackend>> = BTreeMap::new();
        for backend in backends.iter().filter(|backend| backend.state == BackendState::Active) {
            by_cluster.entry(&backend.cluster).or_default().push(backend);
        }
        for (cluster, backends) in by_cluster {
            let name = format!("{}-mesh-{cluster}", service.name());
            let slice = slice(service, &name, cluster, &backends);
            wanted.insert((namespace.to_owned(), name), slice);
        }
    }
    if let Err(error) = write(store, wanted) {
        tracing::debug!(%error, "slices of other clusters' pods could not be written");
    }
}

fn syncs(service: &Object) -> bool {
    let headless = service["spec"]["clusterIP"] == "None";
    match service.annotation(SYNC) {
        Some(value) => value.eq_ignore_ascii_case("true"),
        None => headless,
    }
}

fn slice(service: &Object, name: &str, cluster: &str, backends: &[&RemoteBackend]) -> Value {
    let ports: Vec<Value> = backends.first().map_or_else(Vec::new, |first| {
        let port = |(name, (protocol, port)): (&String, &(Protocol, u16))| {
            let protocol = if *protocol == Protocol::Udp { "UDP" } else { "TCP" };
            json!({"name": name, "protocol": protocol, "port": port})
        };
        first.ports.iter().map(port).collect()
    });
    let endpoints: Vec<Value> = backends
        .iter()
        .map(|backend| {
            let conditions = json!({"ready": true, "serving": true, "terminating": false});
            json!({"addresses": [backend.address.to_string()], "conditions": conditions})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name, "namespace": service.namespace(),
            "labels": {
                "kubernetes.io/service-name": service.name(), MANAGED_BY: MESH_SLICES,
                "multicluster.kubernetes.io/source-cluster": cluster, "service.kubernetes.io/headless": "",
            },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": service.name(), "uid": service.uid(),
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

fn write(store: &Store, mut wanted: BTreeMap<(String, String), Value>) -> Result<(), ApiError> {
    let mut present = store.all(&ENDPOINT_SLICES, None);
    present.retain(|slice| slice.label(MANAGED_BY) == Some(MESH_SLICES));
    for slice in present {
        let namespace = slice.namespace().unwrap_or_default().to_owned();
        match wanted.remove(&(namespace, slice.name().to_owned())) {
            Some(new) if new["endpoints"] == slice["endpoints"] && new["ports"] == slice["ports"] => {}
            Some(new) => {
                let mut changed = slice.to_value();
                changed["endpoints"] = new["endpoints"].clone();
                changed["ports"] = new["ports"].clone();
                store.update(&ENDPOINT_SLICES, changed)?;
            }
            None => {
                store.delete(&ENDPOINT_SLICES, slice.namespace(), slice.name(), &DeleteOptions::now())?;
            }
        }
    }
    for slice in wanted.into_values() {
        store.create(&ENDPOINT_SLICES, slice)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::resource::names::SERVICES;
    use std::net::Ipv4Addr;

    fn addresses(store: &Store) -> Vec<String> {
        let slices = store.all(&ENDPOINT_SLICES, None);
        let endpoints = slices
            .iter()
            .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        endpoints
            .filter_map(|endpoint| endpoint["addresses"][0].as_str().map(str::to_owned))
            .collect()
    }

    #[test]
    fn global_headless_services_get_the_other_clusters_pods_and_lose_them_again() {
        let store = Store::new();
        let service = |name: &str, annotations: Value| {
            let spec = json!({"clusterIP": "None", "ports": [{"name": "http", "port": 8080}]});
            let meta = json!({"namespace": "default", "name": name, "annotations": annotations});
            let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec});
            store.create(&SERVICES, object).unwrap()
        };
        let global = "service.cilium.io/global";
        let services = [
            service("web", json!({global: "true"})),
            service("not", json!({global: "true", SYNC: "false"})),
            service("plain", json!({})),
        ];
        let backend = |last: u8| RemoteBackend {
            cluster: "apps".to_owned(),
            address: Ipv4Addr::new(10, 246, 1, last),
            ports: BTreeMap::from([("http".to_owned(), (Protocol::Tcp, 8080))]),
            state: BackendState::Active,
        };
        let remote = |last: u8| {
            let names = ["web", "not", "plain"].into_iter();
            names
                .map(|name| (ServiceKey::new("default", name), vec![backend(last)]))
                .collect::<BTreeMap<_, _>>()
        };
        sync(&store, &services, &remote(5));
        assert_eq!(addresses(&store), ["10.246.1.5"]);
        sync(&store, &services, &remote(6));
        assert_eq!(addresses(&store), ["10.246.1.6"]);
        sync(&store, &services, &BTreeMap::new());
        assert!(addresses(&store).is_empty());
    }
}
