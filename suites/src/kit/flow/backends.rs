//! The backends of a flow's Service: those that Cilium has on the client's node, and where they are by the
//! EndpointSlices.

use super::destination::Destination;
use crate::kit::recent::{Age, cilium_on};
use meshproof_contract::{AgentFacts, CheckContext, CiliumQuery, ClusterName, Facts, Flow, NodeName};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// Where an address of a Service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// In which cluster.
    pub cluster: ClusterName,
    /// On which node; none where the EndpointSlice does not say.
    pub node: Option<NodeName>,
}

/// The backends to which Cilium on the client's node sends what goes to the flow's Service; otherwise why they are not
/// known.
pub async fn backends(
    context: &CheckContext,
    flow: &Flow,
    client: &AgentFacts,
    destination: &Destination,
) -> Result<BTreeSet<SocketAddr>, String> {
    let Some(address) = destination.address.filter(|_| flow.to.service.is_some()) else {
        return Err("backends are known of Services only".to_owned());
    };
    let nodes = std::slice::from_ref(&client.node);
    let answers = cilium_on(context, &flow.from.cluster, CiliumQuery::Services, nodes, Age::now()).await;
    let answers = answers.map_err(|error| error.to_string())?;
    let mut found = answers
        .iter()
        .filter_map(|answer| behind(answer.output.as_ref().ok()?, address, flow.to.port));
    found.next().ok_or_else(|| {
        let (node, port) = (&client.node, flow.to.port);
        format!("Cilium's list of Services on {node} has no {address}:{port}")
    })
}

/// The home of each address in a Service's EndpointSlices, without copies of other clusters' addresses.
pub async fn homes(
    context: &CheckContext,
    facts: &Facts,
    (name, namespace): (&str, &str),
) -> Result<BTreeMap<IpAddr, Home>, String> {
    let mut homes = BTreeMap::new();
    for cluster in facts.clusters.iter().map(|cluster| &cluster.name) {
        let (version, kind) = ("discovery.k8s.io/v1", "EndpointSlice");
        let slices = context.environment.list(cluster, version, kind, Some(namespace)).await;
        let slices = slices.map_err(|error| error.to_string())?;
        for endpoint in slices.iter().filter(|slice| is_of(slice, name)).flat_map(endpoints) {
            let home = Home {
                cluster: cluster.clone(),
                node: endpoint["nodeName"].as_str().map(NodeName::from),
            };
            let addresses = endpoint["addresses"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(ip);
            homes.extend(addresses.map(|address| (address, home.clone())));
        }
    }
    Ok(homes)
}

fn is_of(slice: &Value, service: &str) -> bool {
    let labels = &slice["metadata"]["labels"];
    // Cilium's copies of other clusters' endpoints (`clustermesh-sync-endpointslices`) say where they are from.
    labels["kubernetes.io/service-name"] == service && labels["multicluster.kubernetes.io/source-cluster"].is_null()
}

fn endpoints(slice: &Value) -> impl Iterator<Item = &Value> {
    slice["endpoints"].as_array().into_iter().flatten()
}

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

/// The active backends of a frontend in `cilium-dbg service list`.
fn behind(output: &Value, address: IpAddr, port: u16) -> Option<BTreeSet<SocketAddr>> {
    let specs = output.as_array()?.iter().map(|service| {
        let realized = &service["status"]["realized"];
        if realized.is_object() {
            realized
        } else {
            &service["spec"]
        }
    });
    let mut found = specs.filter(|spec| {
        let frontend = &spec["frontend-address"];
        ip(&frontend["ip"]) == Some(address) && frontend["port"] == port
    });
    let backends = found.next()?["backend-addresses"].as_array().into_iter().flatten();
    let active = backends.filter(|backend| matches!(backend["state"].as_str(), None | Some("active")));
    let socket = |backend: &Value| {
        Some(SocketAddr::new(
            ip(&backend["ip"])?,
            u16::try_from(backend["port"].as_u64()?).ok()?,
        ))
    };
    Some(active.filter_map(socket).collect())
}
