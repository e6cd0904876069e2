//! Cluster IPs and node ports of services.

use crate::topology::NODE_PORTS;
use ipnet::Ipv4Net;
use meshproof_apiserver::{
    Admission, AdmissionRequest, ApiError, Cause, Operation, Store,
    resource::names::{ENDPOINT_SLICES, SERVICES},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// The first addresses are left to those who ask for one by name (KEP-3070: at most 256).
const STATIC_ADDRESSES: u32 = 256;

/// Gives services their addresses and ports.
pub(crate) struct Services {
    cidr: Ipv4Net,
}

impl Services {
    /// Addresses come from this CIDR.
    pub(crate) fn new(cidr: Ipv4Net) -> Self {
        Self { cidr }
    }
}

impl Admission for Services {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        let concerned = request.resource.plural == "services" && request.resource.group.is_empty();
        if !concerned || request.subresource.is_some() || request.operation == Operation::Delete {
            return Ok(());
        }
        let others: Vec<Value> = request
            .store
            .all(&SERVICES, None)
            .iter()
            .filter(|other| (other.namespace(), other.name()) != (request.namespace, request.name))
            .map(|other| other["spec"].clone())
            .collect();
        let old = request.old.map(|old| old["spec"].clone()).unwrap_or_default();
        let spec = &mut request.object["spec"];
        set_default(spec, "type", json!("ClusterIP"));
        set_default(spec, "sessionAffinity", json!("None"));
        if spec["type"] == "ExternalName" {
            return Ok(());
        }
        for port in spec["ports"].as_array_mut().into_iter().flatten() {
            set_default(port, "protocol", json!("TCP"));
            let number = port["port"].clone();
            set_default(port, "targetPort", number);
        }
        let refused = |causes: Vec<Cause>| ApiError::invalid(request.resource, request.name, causes);
        self.set_address(spec, &old, &others)
            .map_err(|cause| refused(vec![cause]))?;
        set_node_ports(spec, &old, &others).map_err(|cause| refused(vec![cause]))?;
        set_default(spec, "internalTrafficPolicy", json!("Cluster"));
        set_default(spec, "ipFamilies", json!(["IPv4"]));
        set_default(spec, "ipFamilyPolicy", json!("SingleStack"));
        if spec["type"] != "ClusterIP" {
            set_default(spec, "externalTrafficPolicy", json!("Cluster"));
        }
        if spec["type"] == "LoadBalancer" {
            set_default(spec, "allocateLoadBalancerNodePorts", json!(true));
        }
        Ok(())
    }
}

impl Services {
    fn set_address(&self, spec: &mut Value, old: &Value, others: &[Value]) -> Result<(), Cause> {
        let wanted = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty());
        let kept = old["clusterIP"].as_str().filter(|ip| !ip.is_empty());
        let taken: BTreeSet<&str> = others.iter().filter_map(|other| other["clusterIP"].as_str()).collect();
        let address = match (wanted, kept) {
            (Some("None"), _) => "None".to_owned(),
            (Some(wanted), kept) if kept == Some(wanted) => wanted.to_owned(),
            (Some(_), Some(_)) => {
                return Err(Cause::invalid(
                    "spec.clusterIPs[0]",
                    &spec["clusterIP"],
                    "may not change once set",
                ));
            }
            (Some(wanted), None) => {
                let inside = wanted
                    .parse::<Ipv4Addr>()
                    .is_ok_and(|address| self.cidr.contains(&address));
                if !inside {
                    let why = format!(
                        "failed to allocate IP {wanted}: the provided IP is not in the valid range. The range of \
                         valid IPs is {}",
                        self.cidr
                    );
                    return Err(Cause::invalid("spec.clusterIPs", &json!([wanted]), &why));
                }
                if taken.contains(wanted) {
                    let why = format!("failed to allocate IP {wanted}: provided IP is already allocated");
                    return Err(Cause::invalid("spec.clusterIPs", &json!([wanted]), &why));
                }
                wanted.to_owned()
            }
            (None, Some(kept)) => kept.to_owned(),
            (None, None) => self.free(&taken).ok_or_else(|| {
                Cause::invalid("spec.clusterIPs", &json!([]), "failed to allocate an IP: range is full")
            })?,
        };
        spec["clusterIP"] = json!(address);
        spec["clusterIPs"] = json!([address]);
        Ok(())
    }

    fn free(&self, taken: &BTreeSet<&str>) -> Option<String> {
        let (first, last) = (u32::from(self.cidr.network()), u32::from(self.cidr.broadcast()));
        let begin = if last - first > 2 * STATIC_ADDRESSES {
            first + STATIC_ADDRESSES
        } else {
            first + 16
        };
        let count = last.checked_sub(begin)?;
        let start = rand::random_range(0..count.max(1));
        let candidates = (0..count).map(|step| Ipv4Addr::from(begin + (start + step) % count).to_string());
        candidates
            .into_iter()
            .find(|candidate| !taken.contains(candidate.as_str()))
    }
}

fn set_node_ports(spec: &mut Value, old: &Value, others: &[Value]) -> Result<(), Cause> {
    let wants = matches!(spec["type"].as_str(), Some("NodePort")) || {
        spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false
    };
    let Some(ports) = spec["ports"].as_array_mut() else {
        return Ok(());
    };
    if !wants {
        for port in ports {
            port.as_object_mut().map(|port| port.remove("nodePort"));
        }
        return Ok(());
    }
    let used = |spec: &Value| -> Vec<u64> {
        spec["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|port| port["nodePort"].as_u64())
            .collect()
    };
    let mut taken: BTreeSet<u64> = others.iter().flat_map(used).collect();
    for (index, port) in ports.iter_mut().enumerate() {
        let field = format!("spec.ports[{index}].nodePort");
        let kept = || {
            let same = |other: &&Value| other["name"] == port["name"] && other["port"] == port["port"];
            old["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .find(same)
                .and_then(|other| other["nodePort"].as_u64())
        };
        let number = match port["nodePort"].as_u64().filter(|number| *number > 0).or_else(kept) {
            Some(number) if !u16::try_from(number).is_ok_and(|number| NODE_PORTS.contains(&number)) => {
                return Err(Cause::invalid(
                    field,
                    &json!(number),
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                ));
            }
            Some(number) if taken.contains(&number) => {
                return Err(Cause::invalid(
                    field,
                    &json!(number),
                    "provided port is already allocated",
                ));
            }
            Some(number) => number,
            None => {
                let (first, last) = (u64::from(*NODE_PORTS.start()), u64::from(*NODE_PORTS.end()));
                let start = rand::random_range(first..=last);
                let mut candidates = (start..=last).chain(first..start);
                let free = candidates.find(|candidate| !taken.contains(candidate));
                free.ok_or_else(|| Cause::invalid(field, &json!(0), "range is full"))?
            }
        };
        taken.insert(number);
        port["nodePort"] = json!(number);
    }
    Ok(())
}

fn set_default(object: &mut Value, field: &str, value: Value) {
    let absent = object[field].is_null() || object[field] == "";
    if absent {
        object[field] = value;
    }
}

/// The service by which pods reach the API, with the endpoint by which agents know where that is.
pub(crate) fn create_api_service(store: &Store, address: Ipv4Addr, server: Option<Ipv4Addr>) -> Result<(), ApiError> {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": address,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    });
    store.create(&SERVICES, service)?;
    let Some(server) = server else { return Ok(()) };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "endpoints": [{"addresses": [server], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    });
    store.create(&ENDPOINT_SLICES, slice).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::builder()
            .admission(Services::new("10.96.0.0/16".parse().unwrap()))
            .build()
    }

    fn service(name: &str, spec: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
    }

    #[test]
    fn a_service_gets_an_address_and_keeps_it() {
        let store = store();
        let made = store
            .create(&SERVICES, service("a", json!({"ports": [{"port": 80}]})))
            .unwrap();
        let address: Ipv4Addr = made["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
        assert!("10.96.0.0/16".parse::<Ipv4Net>().unwrap().contains(&address));
        assert!(made["spec"]["ports"][0]["targetPort"] == 80 && made["spec"]["ports"][0]["protocol"] == "TCP");
        let changed = store
            .update(&SERVICES, service("a", json!({"ports": [{"port": 81}]})))
            .unwrap();
        assert_eq!(changed["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    }

    #[test]
    fn an_address_is_given_once_and_only_from_the_range() {
        let store = store();
        store
            .create(
                &SERVICES,
                service("a", json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]})),
            )
            .unwrap();
        let twice = store.create(
            &SERVICES,
            service("b", json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]})),
        );
        assert!(twice.unwrap_err().message.contains("already allocated"));
        let outside = store.create(
            &SERVICES,
            service("b", json!({"clusterIP": "10.1.0.10", "ports": [{"port": 80}]})),
        );
        assert!(outside.unwrap_err().message.contains("not in the valid range"));
        let headless = store
            .create(
                &SERVICES,
                service("c", json!({"clusterIP": "None", "ports": [{"port": 80}]})),
            )
            .unwrap();
        assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    }

    #[test]
    fn node_ports_are_unique() {
        let store = store();
        let ports = json!([{"port": 80, "name": "a", "nodePort": 30080}, {"port": 81, "name": "b"}]);
        let spec = json!({"type": "NodePort", "ports": ports});
        let made = store.create(&SERVICES, service("a", spec)).unwrap();
        let second = made["spec"]["ports"][1]["nodePort"].as_u64().unwrap();
        assert!((30000..=32767).contains(&second) && second != 30080);
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
        assert!(
            store
                .create(&SERVICES, service("b", spec))
                .unwrap_err()
                .message
                .contains("already allocated")
        );
    }
}
