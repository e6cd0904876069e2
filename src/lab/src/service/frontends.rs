//! The frontends of services with their backends: a pure function of objects and of what the mesh adds.

use super::{
    MESH_SLICES, is_system,
    remote_backends::{RemoteBackend, ServiceKey},
};
use crate::{fault::Fault, profile::BalancingAlgorithm};
use meshproof_apiserver::Object;
use meshproof_datapath::{Affinity, Algorithm, Backend, BackendState, Frontend, Protocol, Service};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// Which side of a global service is preferred (`service.cilium.io/affinity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preference {
    None,
    Local,
    Remote,
    /// Any other text, `none` written out among them: other clusters' backends are not used (semantics B9).
    Unknown,
}

/// The frontends of a cluster's services with their backends, as agents with these faults make them. `slices` may be in
/// any order; slices of unknown services are ignored.
pub fn frontends(
    services: &[Object],
    slices: &[Object],
    remote: &BTreeMap<ServiceKey, Vec<RemoteBackend>>,
    faults: &BTreeSet<Fault>,
    algorithm: BalancingAlgorithm,
) -> Vec<Service> {
    let mut by_service: BTreeMap<(&str, &str), Vec<&Object>> = BTreeMap::new();
    let foreign = |slice: &&Object| slice.label("endpointslice.kubernetes.io/managed-by") == Some(MESH_SLICES);
    for slice in slices.iter().filter(|slice| !foreign(slice)) {
        let service = slice.label("kubernetes.io/service-name").unwrap_or_default();
        by_service
            .entry((slice.namespace().unwrap_or_default(), service))
            .or_default()
            .push(slice);
    }
    let mut found = Vec::new();
    for service in services {
        let namespace = service.namespace().unwrap_or_default();
        let slices = by_service
            .get(&(namespace, service.name()))
            .map_or(&[][..], Vec::as_slice);
        let remote = remote
            .get(&ServiceKey::new(namespace, service.name()))
            .map_or(&[][..], Vec::as_slice);
        let has = |fault| faults.contains(&fault) && !is_system(namespace);
        let keeps_unready = has(Fault::UnreadyBackendKept) || has(Fault::UnreadyKeepsTraffic);
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            let Some(protocol) = protocol(&port["protocol"]) else {
                continue;
            };
            let name = port["name"].as_str().unwrap_or_default();
            let local: Vec<_> = slices
                .iter()
                .flat_map(|slice| local_backends(slice, name, protocol, keeps_unready))
                .collect();
            let others =
                |port: &Value, protocol| remote_backends(remote, port["name"].as_str().unwrap_or_default(), protocol);
            let mut remote = others(port, protocol);
            let is_lost =
                has(Fault::GlobalPortsMixedUp) && keeps_remote(service, protocol, &remote, others) != Some(port);
            if has(Fault::GlobalNeedsLocalBackends) && local.is_empty() || is_lost {
                remote.clear();
            }
            let preference = if has(Fault::GlobalAffinityIgnored) {
                Preference::None
            } else {
                preference(service)
            };
            let mut backends = match preference {
                Preference::Local if has(Fault::GlobalAffinityNoFallback) => local,
                Preference::Remote if has(Fault::GlobalAffinityNoFallback) => remote,
                preference => preferred(preference, local, remote),
            };
            let is_unnamed = name.is_empty();
            if has(Fault::ServiceUdpBroken) && protocol == Protocol::Udp
                || has(Fault::ServiceUnnamedPortBroken) && is_unnamed
            {
                backends.clear();
            }
            if has(Fault::ServicePortBroken) && is_last_of_several(service, port) {
                for backend in &mut backends {
                    backend.address.set_port(backend.address.port() ^ 0x4000);
                }
            }
            let mut frontends = frontends_of_port(service, port, protocol);
            let is_missing = |frontend: &Frontend| {
                let Frontend::NodePort { protocol, .. } = frontend else {
                    return false;
                };
                has(Fault::NodePortMissing) || has(Fault::NodePortUdpMissing) && *protocol == Protocol::Udp
            };
            frontends.retain(|frontend| !is_missing(frontend));
            for frontend in frontends {
                found.push(Service {
                    algorithm: self::algorithm(algorithm, &frontend),
                    affinity: if has(Fault::SessionAffinityIgnored) {
                        Affinity::None
                    } else {
                        affinity(service)
                    },
                    ..Service::new(format!("{namespace}/{}", service.name()), frontend, backends.clone())
                });
            }
        }
    }
    found
}

/// Maglev's tables are made for NodePorts only: cluster IPs are chosen where the client is (semantics B17). What a load
/// balancer's address gets is the outside's business here.
fn algorithm(wanted: BalancingAlgorithm, frontend: &Frontend) -> Algorithm {
    match (wanted, frontend) {
        (BalancingAlgorithm::Maglev, Frontend::NodePort { .. }) => Algorithm::Maglev {
            table_size: BalancingAlgorithm::MAGLEV_TABLE,
        },
        _ => Algorithm::Random,
    }
}

fn frontends_of_port(service: &Value, port: &Value, protocol: Protocol) -> Vec<Frontend> {
    let spec = &service["spec"];
    let Some(number) = port_number(&port["port"]) else {
        return Vec::new();
    };
    let ingress = service["status"]["loadBalancer"]["ingress"]
        .as_array()
        .into_iter()
        .flatten();
    let addresses = [&spec["clusterIP"]]
        .into_iter()
        .chain(spec["externalIPs"].as_array().into_iter().flatten())
        .chain(ingress.map(|ingress| &ingress["ip"]));
    let addresses = addresses.filter_map(|address| address.as_str()?.parse::<Ipv4Addr>().ok());
    let mut found: Vec<_> = addresses
        .map(|address| Frontend::Address {
            address: SocketAddrV4::new(address, number),
            protocol,
        })
        .collect();
    if let Some(port) = port_number(&port["nodePort"]) {
        found.push(Frontend::NodePort { port, protocol });
    }
    found
}

/// Whether this is the last TCP port of a service with several.
fn is_last_of_several(service: &Value, port: &Value) -> bool {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let tcp: Vec<&Value> = ports
        .filter(|port| protocol(&port["protocol"]) == Some(Protocol::Tcp))
        .collect();
    tcp.len() > 1 && tcp.last() == Some(&port)
}

/// Of the ports that lead to these backends of other clusters the one that keeps them: any of them, and always the same
/// (semantics B8).
fn keeps_remote<'a>(
    service: &'a Object,
    protocol: Protocol,
    remote: &[Backend],
    others: impl Fn(&Value, Protocol) -> Vec<Backend>,
) -> Option<&'a Value> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let same = |port: &&Value| self::protocol(&port["protocol"]) == Some(protocol) && others(port, protocol) == remote;
    let same: Vec<&Value> = ports.filter(same).collect();
    let drawn: usize = service.uid().bytes().map(usize::from).sum();
    same.get(drawn.checked_rem(same.len())?).copied()
}

/// The backends of a slice; with `keep_unready` those that are not ready any more, too.
fn local_backends(slice: &Object, port_name: &str, protocol: Protocol, keep_unready: bool) -> Vec<Backend> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let mut ports = ports.filter(|port| {
        port["name"].as_str().unwrap_or_default() == port_name && self::protocol(&port["protocol"]) == Some(protocol)
    });
    let Some(port) = ports.next().and_then(|port| port_number(&port["port"])) else {
        return Vec::new();
    };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let state = |endpoint: &Value| {
        if keep_unready {
            Some(BackendState::Active)
        } else {
            self::state(&endpoint["conditions"])
        }
    };
    let backends = endpoints.filter_map(|endpoint| Some((endpoint, state(endpoint)?)));
    backends
        .flat_map(|(endpoint, state)| {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(|address| address.as_str()?.parse().ok());
            addresses.map(move |address| Backend {
                address: SocketAddrV4::new(address, port),
                state,
            })
        })
        .collect()
}

/// Cilium takes ready endpoints as active, and endpoints that terminate but still serve as terminating.
fn state(conditions: &Value) -> Option<BackendState> {
    let is = |name: &str, default: bool| conditions[name].as_bool().unwrap_or(default);
    match (is("ready", true), is("serving", true), is("terminating", false)) {
        (true, _, _) => Some(BackendState::Active),
        (false, true, true) => Some(BackendState::Terminating),
        _ => None,
    }
}

fn remote_backends(remote: &[RemoteBackend], port_name: &str, protocol: Protocol) -> Vec<Backend> {
    let with_port = remote.iter().filter_map(|backend| {
        let (its_protocol, port) = *backend.ports.get(port_name)?;
        let address = SocketAddrV4::new(backend.address, port);
        (its_protocol == protocol).then_some(Backend {
            address,
            state: backend.state,
        })
    });
    with_port.collect()
}

fn preferred(preference: Preference, mut local: Vec<Backend>, mut remote: Vec<Backend>) -> Vec<Backend> {
    let lives = |side: &[Backend]| side.iter().any(|backend| backend.state == BackendState::Active);
    match preference {
        Preference::Local if lives(&local) => remote.clear(),
        Preference::Remote if lives(&remote) => local.clear(),
        Preference::Unknown => remote.clear(),
        Preference::None | Preference::Local | Preference::Remote => {}
    }
    local.append(&mut remote);
    local.sort_by_key(|backend| backend.address);
    local.dedup_by_key(|backend| backend.address);
    local
}

fn preference(service: &Object) -> Preference {
    let chosen = service
        .annotation("service.cilium.io/affinity")
        .or(service.annotation("io.cilium/service-affinity"));
    match chosen {
        Some("local") => Preference::Local,
        Some("remote") => Preference::Remote,
        None | Some("") => Preference::None,
        Some(_) => Preference::Unknown,
    }
}

fn affinity(service: &Value) -> Affinity {
    if service["spec"]["sessionAffinity"] != "ClientIP" {
        return Affinity::None;
    }
    let seconds = service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
        .as_u64()
        .unwrap_or(10_800);
    Affinity::ClientIp {
        timeout: Duration::from_secs(seconds),
    }
}

/// `protocol` of a port: TCP when absent, none for SCTP.
pub(crate) fn protocol(value: &Value) -> Option<Protocol> {
    match value.as_str().unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

pub(super) fn port_number(value: &Value) -> Option<u16> {
    value
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::{
        Store,
        resource::names::{ENDPOINT_SLICES, SERVICES},
    };
    use serde_json::json;

    /// A service with one ready, one terminating and one unready endpoint, and one remote backend.
    fn backends(annotations: Value, remote: BackendState) -> Vec<(String, BackendState)> {
        let store = Store::new();
        let metadata = json!({"name": "echo", "namespace": "default", "annotations": annotations});
        let spec =
            json!({"clusterIP": "10.96.1.1", "clusterIPs": ["10.96.1.1"], "ports": [{"name": "http", "port": 80}]});
        let service = store
            .create(&SERVICES, json!({"metadata": metadata, "spec": spec}))
            .unwrap();
        let endpoint = |address: &str, ready: bool, serving: bool, terminating: bool| {
            let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
            json!({"addresses": [address], "conditions": conditions})
        };
        let slice = json!({
            "metadata": {"name": "echo-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "echo"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                endpoint("10.244.1.2", true, true, false),
                endpoint("10.244.1.3", false, true, true),
                endpoint("10.244.1.4", false, false, false),
            ],
        });
        let slice = store.create(&ENDPOINT_SLICES, slice).unwrap();
        let remote = RemoteBackend {
            cluster: "apps".to_owned(),
            address: Ipv4Addr::new(10, 246, 1, 2),
            ports: BTreeMap::from([("http".to_owned(), (Protocol::Tcp, 8080))]),
            state: remote,
        };
        let remote = BTreeMap::from([(ServiceKey::new("default", "echo"), vec![remote])]);
        let found = frontends(
            &[service],
            &[slice],
            &remote,
            &BTreeSet::new(),
            BalancingAlgorithm::Random,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].frontend, Frontend::tcp(Ipv4Addr::new(10, 96, 1, 1), 80));
        let backends = found[0].backends.iter();
        backends
            .map(|backend| (backend.address.to_string(), backend.state))
            .collect()
    }

    #[test]
    fn backends_are_merged_by_port_and_preferred_as_annotated() {
        use BackendState::{Active, Quarantined, Terminating};
        let local = [
            ("10.244.1.2:8080".to_owned(), Active),
            ("10.244.1.3:8080".to_owned(), Terminating),
        ];
        let remote = ("10.246.1.2:8080".to_owned(), Active);
        let affinity = |side: &str| json!({"service.cilium.io/affinity": side});
        let all: Vec<_> = local.iter().cloned().chain([remote.clone()]).collect();
        assert_eq!(backends(json!({}), Active), all);
        assert_eq!(backends(affinity("local"), Active), local);
        assert_eq!(backends(affinity("remote"), Active), [remote]);
        assert_eq!(backends(affinity("none"), Active), local);
        assert_eq!(
            backends(affinity("remote"), Quarantined).len(),
            3,
            "nobody active there: both sides count"
        );
    }
}
