//! Which cluster answers: by where the backends are that Cilium has on the client's node.

use super::{destination::Destination, judge::Seen};
use crate::kit::recent::{Age, cilium_on};
use meshproof_contract::{AgentFacts, CheckContext, CiliumQuery, ClusterName, Facts, Flow};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Whether only the expected cluster can answer.
pub async fn judge(
    context: &CheckContext,
    facts: &Facts,
    flow: &Flow,
    client: &AgentFacts,
    destination: &Destination,
) -> Option<Seen> {
    let expected = &flow.expect.answered_by.as_ref()?.cluster;
    let Some((service, address)) = flow.service().zip(destination.address) else {
        let why = "which cluster answers is known of Services only";
        return Some(Seen::Unknown(why.to_owned()));
    };
    let homes = match homes(context, facts, service).await {
        Ok(homes) => homes,
        Err(why) => return Some(Seen::Unknown(why)),
    };
    let nodes = std::slice::from_ref(&client.node);
    let answers = cilium_on(context, &flow.from.cluster, CiliumQuery::Services, nodes, Age::now()).await;
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => return Some(Seen::Unknown(error.to_string())),
    };
    let behind = answers
        .iter()
        .find_map(|answer| behind(answer.output.as_ref().ok()?, address, flow.to.port));
    let Some(behind) = behind else {
        let why = format!(
            "Cilium's list of Services on {} has no {address}:{}",
            client.node, flow.to.port
        );
        return Some(Seen::Unknown(why));
    };
    Some(compare(expected, &homes, &behind))
}

fn compare(expected: &ClusterName, homes: &BTreeMap<IpAddr, ClusterName>, behind: &BTreeSet<IpAddr>) -> Seen {
    let mut clusters: BTreeMap<Option<&ClusterName>, usize> = BTreeMap::new();
    for backend in behind {
        *clusters.entry(homes.get(backend)).or_default() += 1;
    }
    let wanted = format!("backends of {expected} only");
    if clusters.is_empty() {
        return Seen::Wrong(wanted, "there are no backends".to_owned());
    }
    if clusters.keys().all(|cluster| *cluster == Some(expected)) {
        return Seen::Right(format!("all {} backends are in {expected}", behind.len()));
    }
    let told: Vec<String> = clusters
        .iter()
        .map(|(cluster, number)| match cluster {
            Some(cluster) => format!("{number} in {cluster}"),
            None => format!("{number} in no EndpointSlice"),
        })
        .collect();
    let told = format!("backends: {}", told.join(", "));
    match clusters.contains_key(&None) {
        true => Seen::Unknown(told),
        false => Seen::Wrong(wanted, told),
    }
}

/// The cluster of each address in the Service's EndpointSlices, without copies of other clusters' addresses.
async fn homes(
    context: &CheckContext,
    facts: &Facts,
    (name, namespace): (&str, &str),
) -> Result<BTreeMap<IpAddr, ClusterName>, String> {
    let mut homes = BTreeMap::new();
    for cluster in facts.clusters.iter().map(|cluster| &cluster.name) {
        let (version, kind) = ("discovery.k8s.io/v1", "EndpointSlice");
        let slices = context.environment.list(cluster, version, kind, Some(namespace)).await;
        for slice in slices.map_err(|error| error.to_string())? {
            if is_of(&slice, name) {
                homes.extend(addresses(&slice).map(|address| (address, cluster.clone())));
            }
        }
    }
    Ok(homes)
}

fn is_of(slice: &Value, service: &str) -> bool {
    let labels = &slice["metadata"]["labels"];
    // Cilium's copies of other clusters' endpoints (`clustermesh-sync-endpointslices`) say where they are from.
    labels["kubernetes.io/service-name"] == service && labels["multicluster.kubernetes.io/source-cluster"].is_null()
}

fn addresses(slice: &Value) -> impl Iterator<Item = IpAddr> {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let addresses = endpoints.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    addresses.filter_map(|address| address.as_str()?.parse().ok())
}

/// The active backends of a frontend in `cilium-dbg service list`.
fn behind(output: &Value, address: IpAddr, port: u16) -> Option<BTreeSet<IpAddr>> {
    let ip = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
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
    Some(active.filter_map(|backend| ip(&backend["ip"])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(behind: &[&str]) -> Seen {
        let address = |text: &&str| text.parse::<IpAddr>().expect("an address");
        let homes = [("10.244.1.5", "infra"), ("10.246.1.5", "apps")];
        let homes = homes.map(|(at, cluster)| (address(&at), ClusterName::from(cluster)));
        compare(&"infra".into(), &homes.into(), &behind.iter().map(address).collect())
    }

    #[test]
    fn a_cluster_answers_alone_only_if_all_backends_are_there() {
        assert!(matches!(compared(&["10.244.1.5"]), Seen::Right(_)));
        assert!(matches!(compared(&["10.244.1.5", "10.246.1.5"]), Seen::Wrong(..)));
        assert!(matches!(compared(&["10.246.1.5"]), Seen::Wrong(..)));
        assert!(matches!(compared(&[]), Seen::Wrong(..)));
        assert!(matches!(compared(&["10.244.1.5", "10.9.9.9"]), Seen::Unknown(_)));
    }
}
