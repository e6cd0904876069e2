//! Cluster DNS as pods use it: from their `resolv.conf`, then the Service at that address and its endpoints.

use super::allowed;
use crate::{ApiError, ProgressSink, client::ClusterClient};
use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::{DnsFacts, DnsReplica};
use std::net::IpAddr;

/// A pod's `resolv.conf`, as its agent reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) nameservers: Vec<String>,
    pub(crate) search: Vec<String>,
}

/// Cluster DNS behind the first nameserver; none without a nameserver.
pub(crate) async fn find(
    client: &ClusterClient,
    resolv: &ResolvConf,
    progress: &ProgressSink,
) -> Result<Option<DnsFacts>, ApiError> {
    let Some(address) = resolv.nameservers.first().and_then(|a| a.parse::<IpAddr>().ok()) else {
        progress.warning(format!(
            "{}: resolv.conf of pods has no nameserver; check their dnsPolicy and the kubelet's clusterDNS",
            client.name()
        ));
        return Ok(None);
    };
    let mut facts = DnsFacts {
        service: (String::new(), String::new()),
        address,
        replicas: Vec::new(),
        domain: domain(&resolv.search),
    };
    let services = match client.list::<Service>(None, &ListParams::default()).await {
        Err(error) if error.is_forbidden() => {
            let near = client
                .list::<Service>(Some("kube-system"), &ListParams::default())
                .await;
            allowed(near, progress, "the Service of cluster DNS is unknown")?.unwrap_or_default()
        }
        other => other?,
    };
    // NodeLocal DNSCache listens on a link-local address of each node and asks the Service's replicas.
    let behind = |service: &&Service| {
        is_link_local(address) && service.labels().get("k8s-app").map(String::as_str) == Some("kube-dns")
    };
    let found = services.iter().find(|s| has_address(s, address));
    let Some(service) = found.or_else(|| services.iter().find(behind)) else {
        progress.warning(format!(
            "{}: the pods' nameserver {address} is not the address of a Service (perhaps NodeLocal DNSCache), so the \
             replicas of cluster DNS are unknown",
            client.name()
        ));
        return Ok(Some(facts));
    };
    let found = allowed(
        replicas_of(client, service, address).await,
        progress,
        "the replicas of cluster DNS are unknown",
    )?;
    facts.replicas = found.unwrap_or_default();
    facts.service = (service.namespace().unwrap_or_default(), service.name_any());
    Ok(Some(facts))
}

/// The replicas of cluster DNS as they are now: those that were found may have been replaced.
pub(crate) async fn replicas_now(client: &ClusterClient, dns: &DnsFacts) -> Result<Vec<DnsReplica>, ApiError> {
    let (namespace, name) = &dns.service;
    match client.get::<Service>(namespace, name).await? {
        Some(service) => replicas_of(client, &service, dns.address).await,
        None => Ok(Vec::new()),
    }
}

async fn replicas_of(client: &ClusterClient, service: &Service, address: IpAddr) -> Result<Vec<DnsReplica>, ApiError> {
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let slices = client.list::<EndpointSlice>(Some(&namespace), &params).await?;
    Ok(replicas(service, &slices, address))
}

/// The cluster domain: the search list holds `svc.` and it (kubelet, `clusterFirst`).
fn domain(search: &[String]) -> String {
    let found = search.iter().find_map(|entry| entry.strip_prefix("svc."));
    found.unwrap_or("cluster.local").trim_end_matches('.').to_owned()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn has_address(service: &Service, address: IpAddr) -> bool {
    let Some(spec) = &service.spec else { return false };
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    all.into_iter().any(|ip| ip.parse() == Ok(address))
}

/// The serving endpoints of the address's family, with the port behind the Service's UDP port 53.
fn replicas(service: &Service, slices: &[EndpointSlice], address: IpAddr) -> Vec<DnsReplica> {
    let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let name = ports
        .clone()
        .find(|p| p.port == 53 && p.protocol.as_deref() == Some("UDP"))
        .or(ports.clone().find(|p| p.port == 53))
        .map(|p| p.name.clone().unwrap_or_default());
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut replicas: Vec<_> = slices
        .iter()
        .filter(|slice| slice.address_type == family)
        .filter_map(|slice| {
            let ports = slice.ports.iter().flatten();
            let port = ports
                .filter(|p| {
                    name.as_ref()
                        .is_none_or(|name| p.name.as_deref().unwrap_or_default() == name)
                })
                .find_map(|p| u16::try_from(p.port?).ok())?;
            Some(slice.endpoints.iter().filter_map(move |e| replica(e, port)))
        })
        .flatten()
        .collect();
    replicas.sort_by(|a, b| a.pod.cmp(&b.pod));
    replicas.dedup();
    replicas
}

fn replica(endpoint: &Endpoint, port: u16) -> Option<DnsReplica> {
    // Absent means ready (discovery.k8s.io/v1).
    if endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(false) {
        return None;
    }
    let address = endpoint.addresses.first()?;
    let target = endpoint.target_ref.as_ref().and_then(|r| r.name.clone());
    Some(DnsReplica {
        pod: target.unwrap_or_else(|| address.clone()),
        address: address.parse().ok()?,
        port,
        node: endpoint.node_name.as_deref().map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_domain_is_in_the_search_list() {
        let list = |entries: &[&str]| entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            domain(&list(&["meshproof.svc.k8s.example", "svc.k8s.example", "k8s.example"])),
            "k8s.example"
        );
        assert_eq!(domain(&list(&["lan"])), "cluster.local");
    }

    #[test]
    fn replicas_have_the_port_that_they_listen_on() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 10053},
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 10053},
            ]},
        }))
        .expect("a Service");
        assert!(has_address(&service, "10.96.0.10".parse().expect("address")));
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "kube-dns-x"}, "addressType": "IPv4",
            "ports": [
                {"name": "metrics", "port": 9153, "protocol": "TCP"},
                {"name": "dns", "port": 10053, "protocol": "UDP"},
            ],
            "endpoints": [
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}, "nodeName": "n-2",
                    "targetRef": {"kind": "Pod", "name": "kube-dns-b"}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false},
                    "targetRef": {"kind": "Pod", "name": "kube-dns-c"}},
                {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "kube-dns-a"}},
            ],
        }))
        .expect("a slice");
        let found = replicas(&service, &[slice], "10.96.0.10".parse().expect("address"));
        let seen: Vec<_> = found.iter().map(|r| (r.pod.as_str(), r.port)).collect();
        assert_eq!(seen, [("kube-dns-a", 10053), ("kube-dns-b", 10053)]);
        assert_eq!(found[1].node, Some("n-2".into()));
    }
}
