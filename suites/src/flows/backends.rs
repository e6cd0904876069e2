//! Which cluster answers: by where the backends are that Cilium has on the client's node.

use super::judge::Seen;
use crate::kit::flow::{Destination, Home, backends, homes};
use meshproof_contract::{AgentFacts, CheckContext, ClusterName, Facts, Flow};
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
    let Some(service) = flow.service() else {
        let why = "which cluster answers is known of Services only";
        return Some(Seen::Unknown(why.to_owned()));
    };
    let homes = match homes(context, facts, service).await {
        Ok(homes) => homes,
        Err(why) => return Some(Seen::Unknown(why)),
    };
    let behind = match backends(context, flow, client, destination).await {
        Ok(behind) => behind.iter().map(|backend| backend.ip()).collect(),
        Err(why) => return Some(Seen::Unknown(why)),
    };
    Some(compare(expected, &homes, &behind))
}

fn compare(expected: &ClusterName, homes: &BTreeMap<IpAddr, Home>, behind: &BTreeSet<IpAddr>) -> Seen {
    let mut clusters: BTreeMap<Option<&ClusterName>, usize> = BTreeMap::new();
    for backend in behind {
        *clusters
            .entry(homes.get(backend).map(|home| &home.cluster))
            .or_default() += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(behind: &[&str]) -> Seen {
        let address = |text: &&str| text.parse::<IpAddr>().expect("an address");
        let homes = [("10.244.1.5", "infra"), ("10.246.1.5", "apps")];
        let homes = homes.map(|(at, cluster)| {
            let cluster = ClusterName::from(cluster);
            (address(&at), Home { cluster, node: None })
        });
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
