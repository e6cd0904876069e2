//! Where a flow goes: its target, and the name that its client uses.

use meshproof_contract::{CheckContext, Facts, Flow, ObjectRef, Target};
use serde_json::Value;
use std::net::IpAddr;

/// The destination of a flow, as far as it could be found.
#[derive(Clone, Debug)]
pub struct Destination {
    /// What clients connect to.
    pub target: Target,
    /// The same by address, where it is known: for a client that may not ask DNS.
    pub address: Option<IpAddr>,
    /// The name for TLS and HTTP.
    pub name: String,
}

/// Why there is no destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is not there: what was expected, and what was found.
    Missing(String, String),
    /// It could not be read.
    Unknown(String),
}

/// The domain of clusters that say nothing else.
const DOMAIN: &str = "cluster.local";

/// Finds the destination.
pub async fn find(context: &CheckContext, facts: &Facts, flow: &Flow) -> Result<Destination, Absent> {
    let port = flow.to.port;
    if let Some((name, namespace)) = flow.service() {
        return of_service(context, facts, flow, (name, namespace)).await;
    }
    let host = match (flow.to.address, &flow.to.host) {
        (Some(address), _) => address.to_string(),
        (None, host) => host.clone().unwrap_or_default(),
    };
    Ok(Destination {
        target: Target::new(host.clone(), port),
        address: flow.to.address,
        name: host,
    })
}

async fn of_service(
    context: &CheckContext,
    facts: &Facts,
    flow: &Flow,
    (name, namespace): (&str, &str),
) -> Result<Destination, Absent> {
    let (own, port) = (&flow.from.cluster, flow.to.port);
    let cluster = flow.to.cluster.as_ref().unwrap_or(own);
    let object = ObjectRef::namespaced("v1", "Service", namespace, name);
    let service = context.environment.get(cluster, &object).await;
    let service = service.map_err(|error| Absent::Unknown(error.to_string()))?;
    let what = format!("Service {namespace}/{name} in {cluster}");
    let service = service.ok_or_else(|| Absent::Missing(what.clone(), "it does not exist".to_owned()))?;
    let spec = &service["spec"];
    let has_port = spec["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|p| p["port"] == port);
    if !has_port {
        return Err(Absent::Missing(
            format!("{what} with port {port}"),
            "it has no such port".to_owned(),
        ));
    }
    let dns_name = format!("{name}.{namespace}.svc");
    if cluster != own {
        let ingress = &service["status"]["loadBalancer"]["ingress"][0];
        let address = address(&ingress["ip"]).ok_or_else(|| {
            Absent::Missing(
                format!("{what} with the address of a load balancer"),
                "it has none".to_owned(),
            )
        })?;
        return Ok(Destination {
            target: Target::new(address.to_string(), port),
            address: Some(address),
            name: dns_name,
        });
    }
    let domain = facts.cluster(own).and_then(|cluster| cluster.dns.as_ref());
    let domain = domain.map_or(DOMAIN, |dns| &dns.domain);
    Ok(Destination {
        target: Target::new(format!("{dns_name}.{domain}"), port),
        address: address(&spec["clusterIP"]),
        name: dns_name,
    })
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}
