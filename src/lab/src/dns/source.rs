//! From Services and EndpointSlices to a [`Zone`], by the rules of CoreDNS's `kubernetes` plugin. Pure.

use super::zone::{Data, Zone, reverse_name};
use serde_json::Value;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// The objects that a zone is made of.
#[derive(Clone, Copy, Debug)]
pub struct ZoneSource<'a> {
    /// Such as `cluster.local`.
    pub domain: &'a str,
    /// Namespaces.
    pub namespaces: &'a [&'a Value],
    /// Services.
    pub services: &'a [&'a Value],
    /// EndpointSlices (`discovery.k8s.io/v1`).
    pub slices: &'a [&'a Value],
}

/// A reachable endpoint of a service.
struct Endpoint {
    host: String,
    address: Ipv4Addr,
    /// Name, protocol in lower case, number.
    ports: Vec<(String, String, u16)>,
}

impl ZoneSource<'_> {
    /// Makes the zone.
    pub fn zone(&self) -> Zone {
        let mut zone = Zone::new(self.domain);
        for (name, address) in crate::external_hosts::NAMES {
            zone.insert_host(name, address);
        }
        for namespace in self.namespaces {
            zone.insert_namespace(text(&namespace["metadata"]["name"]));
        }
        let slices = self.slices_by_service();
        for service in self.services {
            let meta = &service["metadata"];
            let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
            let host = format!("{name}.{namespace}.svc.{}", self.domain);
            let slices = slices.get(&(namespace, name)).map(Vec::as_slice).unwrap_or_default();
            match text(&service["spec"]["clusterIP"]) {
                _ if service["spec"]["type"] == "ExternalName" => {
                    let target = text(&service["spec"]["externalName"]).trim_end_matches('.');
                    zone.insert(&host, Data::Cname(target.to_owned()));
                }
                "None" => insert_headless(&mut zone, &host, service, slices),
                address => insert_cluster_ip(&mut zone, &host, service, address, slices),
            }
        }
        zone
    }

    fn slices_by_service(&self) -> BTreeMap<(&str, &str), Vec<&Value>> {
        let mut slices: BTreeMap<_, Vec<&Value>> = BTreeMap::new();
        for slice in self.slices {
            let meta = &slice["metadata"];
            let service = text(&meta["labels"]["kubernetes.io/service-name"]);
            slices
                .entry((text(&meta["namespace"]), service))
                .or_default()
                .push(slice);
        }
        slices
    }
}

fn insert_cluster_ip(zone: &mut Zone, host: &str, service: &Value, address: &str, slices: &[&Value]) {
    let Ok(address) = address.parse::<Ipv4Addr>() else {
        return;
    };
    zone.insert(host, Data::A(address));
    zone.insert(&reverse_name(address), Data::Ptr(host.to_owned()));
    for port in list(&service["spec"]["ports"]) {
        let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
        insert_port(zone, host, text(&port["name"]), &protocol, number(&port["port"]), host);
    }
    // Endpoints of every service have a name of their own and resolve backwards to it (CoreDNS, serviceRecordForIP).
    for endpoint in endpoints(service, slices) {
        insert_endpoint(zone, host, &endpoint);
    }
}

/// A headless service without endpoints has no name at all (CoreDNS answers NXDOMAIN).
fn insert_headless(zone: &mut Zone, host: &str, service: &Value, slices: &[&Value]) {
    for endpoint in endpoints(service, slices) {
        zone.insert(host, Data::A(endpoint.address));
        let target = insert_endpoint(zone, host, &endpoint);
        for (name, protocol, port) in &endpoint.ports {
            insert_port(zone, host, name, protocol, *port, &target);
        }
    }
}

fn insert_endpoint(zone: &mut Zone, host: &str, endpoint: &Endpoint) -> String {
    let name = format!("{}.{host}", endpoint.host);
    zone.insert(&name, Data::A(endpoint.address));
    zone.insert(&reverse_name(endpoint.address), Data::Ptr(name.clone()));
    name
}

fn insert_port(zone: &mut Zone, host: &str, name: &str, protocol: &str, port: u16, target: &str) {
    let data = Data::Srv {
        port,
        target: target.to_lowercase(),
    };
    // A question for the service itself gets all its ports.
    zone.insert(host, data.clone());
    if !name.is_empty() {
        zone.insert(&format!("_{name}._{protocol}.{host}"), data);
    }
}

/// Ready endpoints, or all of them for services that publish not ready addresses.
fn endpoints(service: &Value, slices: &[&Value]) -> Vec<Endpoint> {
    let all = service["spec"]["publishNotReadyAddresses"] == true;
    let mut found = Vec::new();
    for slice in slices.iter().filter(|slice| slice["addressType"] == "IPv4") {
        let ports: Vec<_> = list(&slice["ports"])
            .iter()
            .map(|port| {
                let protocol = port["protocol"].as_str().unwrap_or("TCP").to_lowercase();
                (text(&port["name"]).to_owned(), protocol, number(&port["port"]))
            })
            .collect();
        for endpoint in list(&slice["endpoints"]) {
            if !all && endpoint["conditions"]["ready"] == false {
                continue;
            }
            for address in list(&endpoint["addresses"]) {
                let Ok(address) = text(address).parse::<Ipv4Addr>() else {
                    continue;
                };
                let host = match text(&endpoint["hostname"]) {
                    "" => address.to_string().replace('.', "-"),
                    hostname => hostname.to_owned(),
                };
                found.push(Endpoint {
                    host,
                    address,
                    ports: ports.clone(),
                });
            }
        }
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> u16 {
    value
        .as_u64()
        .and_then(|number| number.try_into().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{
        super::zone::{Lookup, Question},
        *,
    };
    use serde_json::json;

    fn zone(services: &[Value], slices: &[Value]) -> Zone {
        let namespace = json!({"metadata": {"name": "demo"}});
        let source = ZoneSource {
            domain: "cluster.local",
            namespaces: &[&namespace],
            services: &services.iter().collect::<Vec<_>>(),
            slices: &slices.iter().collect::<Vec<_>>(),
        };
        source.zone()
    }

    fn service(name: &str, spec: Value) -> Value {
        json!({"metadata": {"namespace": "demo", "name": name}, "spec": spec})
    }

    fn slice(name: &str) -> Value {
        json!({
            "metadata": {"namespace": "demo", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.244.0.5"], "conditions": {"ready": true}, "hostname": "web-0"},
                {"addresses": ["10.244.1.6"], "conditions": {"ready": false}},
            ],
        })
    }

    fn addresses(lookup: Lookup) -> Vec<String> {
        let Lookup::Found { answers, .. } = lookup else {
            return vec![format!("{lookup:?}")];
        };
        let address = |record: super::super::zone::Record| match record.data {
            Data::A(address) => address.to_string(),
            other => format!("{other:?}"),
        };
        answers.into_iter().map(address).collect()
    }

    #[test]
    fn a_headless_service_leads_to_its_ready_pods_only() {
        let headless = service("web", json!({"clusterIP": "None"}));
        let zone = zone(&[headless], &[slice("web")]);
        assert_eq!(
            addresses(zone.lookup("web.demo.svc.cluster.local", Question::A)),
            ["10.244.0.5"]
        );
        assert_eq!(
            addresses(zone.lookup("web-0.web.demo.svc.cluster.local", Question::A)),
            ["10.244.0.5"]
        );
    }

    #[test]
    fn publishing_not_ready_addresses_leads_to_all_pods() {
        let headless = service("web", json!({"clusterIP": "None", "publishNotReadyAddresses": true}));
        let zone = zone(&[headless], &[slice("web")]);
        let found = addresses(zone.lookup("web.demo.svc.cluster.local", Question::A));
        assert_eq!(found, ["10.244.0.5", "10.244.1.6"]);
        assert_eq!(
            addresses(zone.lookup("10-244-1-6.web.demo.svc.cluster.local", Question::A)),
            ["10.244.1.6"]
        );
    }

    #[test]
    fn a_headless_service_without_endpoints_has_no_name() {
        let zone = zone(&[service("web", json!({"clusterIP": "None"}))], &[]);
        assert_eq!(zone.lookup("web.demo.svc.cluster.local", Question::A), Lookup::NoName);
    }

    #[test]
    fn a_cluster_ip_service_leads_to_its_virtual_address_and_back() {
        let spec = json!({"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80}]});
        let zone = zone(&[service("web", spec)], &[slice("web")]);
        assert_eq!(
            addresses(zone.lookup("web.demo.svc.cluster.local", Question::A)),
            ["10.96.0.7"]
        );
        let Lookup::Found { answers, additionals } =
            zone.lookup("_http._tcp.web.demo.svc.cluster.local", Question::Srv)
        else {
            panic!("expected the named port");
        };
        let target = "web.demo.svc.cluster.local".to_owned();
        assert_eq!(
            answers[0].data,
            Data::Srv { port: 80, target },
            "the service's port, not the pods'"
        );
        assert_eq!(additionals[0].data, Data::A(Ipv4Addr::new(10, 96, 0, 7)));
        let back = zone.lookup("7.0.96.10.in-addr.arpa", Question::Ptr);
        let Lookup::Found { answers, .. } = back else {
            panic!("expected a reverse name, got {back:?}")
        };
        assert_eq!(answers[0].data, Data::Ptr("web.demo.svc.cluster.local".into()));
        assert!(matches!(
            zone.lookup("5.0.244.10.in-addr.arpa", Question::Ptr),
            Lookup::Found { .. }
        ));
    }

    #[test]
    fn an_external_name_is_an_alias() {
        let spec = json!({"type": "ExternalName", "externalName": "db.example.org."});
        let zone = zone(&[service("db", spec)], &[]);
        let Lookup::Found { answers, .. } = zone.lookup("db.demo.svc.cluster.local", Question::A) else {
            panic!("expected an alias");
        };
        assert_eq!(answers[0].data, Data::Cname("db.example.org".into()));
    }
}
