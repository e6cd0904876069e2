//! EndpointSlices, and the older Endpoints, of services with a selector.

use super::{Again, Controller};
use crate::{
    fault::{ActiveFaults, Fault},
    object::{is_ready, owner_reference},
    others,
};
use meshproof_apiserver::{
    ApiError, DeleteOptions, LabelSelector, Object, Resource, Store,
    resource::names::{ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How many endpoints a slice holds (`--max-endpoints-per-slice`).
const PER_SLICE: usize = 100;

pub(super) struct EndpointSlices {
    faults: ActiveFaults,
    /// The Service whose slice keeps an address, while [`Fault::EndpointSliceStale`] is in force.
    victim: Option<String>,
}

impl EndpointSlices {
    pub(super) fn new(faults: ActiveFaults) -> Self {
        Self { faults, victim: None }
    }

    /// The Service of others whose slice is wrong now, drawn when the fault begins.
    fn victim(&mut self, services: &[Object]) -> Option<String> {
        if !self.faults.is_active(Fault::EndpointSliceStale) {
            self.victim = None;
        } else if self.victim.is_none() {
            let of_others = services
                .iter()
                .filter(|service| service.namespace() == Some(others::NAMESPACE));
            let names: Vec<&str> = of_others.map(|service| service.name()).collect();
            if !names.is_empty() {
                self.victim = Some(names[rand::random_range(0..names.len())].to_owned());
            }
        }
        self.victim.clone()
    }
}

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[SERVICES, PODS, ENDPOINT_SLICES, ENDPOINTS] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        let pods = store.all(&PODS, None);
        let zones: BTreeMap<String, String> = store
            .all(&NODES, None)
            .iter()
            .filter_map(|n| Some((n.name().to_owned(), n.label("topology.kubernetes.io/zone")?.to_owned())))
            .collect();
        let services = store.all(&SERVICES, None);
        let victim = self.victim(&services);
        for service in services {
            let Some(selector) = service["spec"]["selector"]
                .as_object()
                .filter(|selector| !selector.is_empty())
            else {
                continue;
            };
            if service.is_terminating() || service["spec"]["type"] == "ExternalName" {
                continue;
            }
            let selector = LabelSelector::labels(selector.iter().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))));
            let behind = pods
                .iter()
                .filter(|pod| pod.namespace() == service.namespace() && selector.matches(pod));
            let behind: Vec<_> = behind.filter(|pod| is_addressable(pod)).collect();
            let is_victim = service.namespace() == Some(others::NAMESPACE) && victim.as_deref() == Some(service.name());
            write_slices(store, &service, &behind, &zones, is_victim)?;
            write_endpoints(store, &service, &behind)?;
        }
        Ok(None)
    }
}

/// What a pod that has gone left behind: the first endpoint with an address next to it that nobody has.
fn left_behind(endpoints: &[Value]) -> Option<Value> {
    let mut endpoint = endpoints.first()?.clone();
    let (network, _) = endpoint["addresses"][0].as_str()?.rsplit_once('.')?;
    endpoint["addresses"] = json!([format!("{network}.253")]);
    endpoint["targetRef"]["name"] = json!("gone");
    Some(endpoint)
}

/// Has an address and has not ended.
fn is_addressable(pod: &Object) -> bool {
    pod["status"]["podIP"].is_string() && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// A service's ports as this pod has them: named target ports differ from pod to pod.
fn ports(service: &Object, pod: &Object) -> Vec<Value> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let found = ports.filter_map(|port| {
        let target = match &port["targetPort"] {
            Value::Number(number) => json!(number),
            Value::String(name) => container_port(pod, name, &port["protocol"])?,
            _ => port["port"].clone(),
        };
        let mut found = json!({
            "name": port["name"].as_str().unwrap_or_default(), "port": target,
            "protocol": port["protocol"].as_str().unwrap_or("TCP"),
        });
        if !port["appProtocol"].is_null() {
            found["appProtocol"] = port["appProtocol"].clone();
        }
        Some(found)
    });
    found.collect()
}

fn container_port(pod: &Object, name: &str, protocol: &Value) -> Option<Value> {
    let protocol = protocol.as_str().unwrap_or("TCP");
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let port = ports.find(|p| p["name"] == name && p["protocol"].as_str().unwrap_or("TCP") == protocol)?;
    Some(port["containerPort"].clone())
}

fn publishes_unready(service: &Object) -> bool {
    service["spec"]["publishNotReadyAddresses"] == true
}

fn endpoint(service: &Object, pod: &Object, zones: &BTreeMap<String, String>) -> Value {
    let serving = is_ready(pod);
    let ready = (serving && !pod.is_terminating()) || publishes_unready(service);
    let mut endpoint = json!({
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": pod.is_terminating()},
        "targetRef": target(pod),
    });
    if let Some(node) = pod["spec"]["nodeName"].as_str() {
        endpoint["nodeName"] = json!(node);
        if let Some(zone) = zones.get(node) {
            endpoint["zone"] = json!(zone);
        }
    }
    let named = pod["spec"]["subdomain"] == service.name() && pod["spec"]["hostname"].is_string();
    if named {
        endpoint["hostname"] = pod["spec"]["hostname"].clone();
    }
    endpoint
}

fn target(pod: &Object) -> Value {
    json!({"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()})
}

fn labels(service: &Object) -> Map<String, Value> {
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".to_owned(), json!(""));
    }
    labels
}

fn write_slices(
    store: &Store,
    service: &Object,
    pods: &[&Object],
    zones: &BTreeMap<String, String>,
    keeps_address: bool,
) -> Result<(), ApiError> {
    let mut by_ports: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in pods {
        let ports = ports(service, pod);
        let group = by_ports
            .entry(json!(ports).to_string())
            .or_insert_with(|| (ports, Vec::new()));
        group.1.push(endpoint(service, pod, zones));
    }
    let mut wanted: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for (ports, mut endpoints) in by_ports.into_values() {
        endpoints.extend(left_behind(&endpoints).filter(|_| keeps_address));
        wanted.extend(endpoints.chunks(PER_SLICE).map(|chunk| (ports.clone(), chunk.to_vec())));
    }
    if wanted.is_empty() {
        wanted.push((Vec::new(), Vec::new()));
    }
    let mut labels = labels(service);
    labels.insert(SERVICE_NAME.to_owned(), json!(service.name()));
    labels.insert(MANAGED_BY.to_owned(), json!(MANAGER));

    let mut present = store.all(&ENDPOINT_SLICES, service.namespace());
    present.retain(|s| s.label(SERVICE_NAME) == Some(service.name()) && s.label(MANAGED_BY) == Some(MANAGER));
    let mut present = present.into_iter();
    for (ports, endpoints) in wanted {
        let ports = if ports.is_empty() { Value::Null } else { json!(ports) };
        match present.next() {
            Some(slice)
                if slice["ports"] == ports
                    && slice["endpoints"] == json!(endpoints)
                    && slice["metadata"]["labels"] == json!(labels) => {}
            Some(slice) => {
                let mut new = slice.to_value();
                new["ports"] = ports;
                new["endpoints"] = json!(endpoints);
                new["metadata"]["labels"] = json!(labels);
                store.update(&ENDPOINT_SLICES, new)?;
            }
            None => {
                let metadata = json!({
                    "generateName": format!("{}-", service.name()), "namespace": service.namespace(), "labels": labels,
                    "ownerReferences": [owner_reference(service)],
                });
                let slice = json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
                    "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
                });
                store.create(&ENDPOINT_SLICES, slice)?;
            }
        }
    }
    for surplus in present {
        store.delete(
            &ENDPOINT_SLICES,
            surplus.namespace(),
            surplus.name(),
            &DeleteOptions::now(),
        )?;
    }
    Ok(())
}

/// Ports, ready addresses and unready ones.
type Subset = (Vec<Value>, Vec<Value>, Vec<Value>);

fn write_endpoints(store: &Store, service: &Object, pods: &[&Object]) -> Result<(), ApiError> {
    let mut by_ports: BTreeMap<String, Subset> = BTreeMap::new();
    for pod in pods
        .iter()
        .filter(|pod| !pod.is_terminating() || publishes_unready(service))
    {
        let ports = ports(service, pod);
        let address = json!({
            "ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": target(pod),
        });
        let group = by_ports
            .entry(json!(ports).to_string())
            .or_insert_with(|| (ports, Vec::new(), Vec::new()));
        let side = if is_ready(pod) || publishes_unready(service) {
            &mut group.1
        } else {
            &mut group.2
        };
        side.push(address);
    }
    let subset = |(ports, ready, unready): Subset| {
        let mut subset = Map::new();
        for (field, values) in [("addresses", ready), ("notReadyAddresses", unready), ("ports", ports)] {
            if !values.is_empty() {
                subset.insert(field.to_owned(), json!(values));
            }
        }
        Value::Object(subset)
    };
    let subsets: Vec<_> = by_ports.into_values().map(subset).collect();
    let subsets = if subsets.is_empty() {
        Value::Null
    } else {
        json!(subsets)
    };
    let mut labels = labels(service);
    labels.insert(
        "endpoints.kubernetes.io/managed-by".to_owned(),
        json!("endpoint-controller"),
    );
    match store.find(&ENDPOINTS, service.namespace(), service.name()) {
        Some(present) if present["subsets"] == subsets && present["metadata"]["labels"] == json!(labels) => Ok(()),
        Some(present) => {
            let mut new = present.to_value();
            new["subsets"] = subsets;
            new["metadata"]["labels"] = json!(labels);
            store.update(&ENDPOINTS, new).map(|_| ())
        }
        None => {
            let metadata = json!({
                "name": service.name(), "namespace": service.namespace(), "labels": labels,
                "ownerReferences": [owner_reference(service)],
            });
            let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets});
            store.create(&ENDPOINTS, endpoints).map(|_| ())
        }
    }
}
