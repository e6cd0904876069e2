//! Endpoints of the DNS Service that get no questions since they are not ready.

use meshproof_contract::{CheckContext, DnsFacts, Tally};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Time between the two reads that must both show an endpoint as not ready.
const AGAIN: Duration = Duration::from_secs(10);

/// A finding for each endpoint that is neither ready now nor [`AGAIN`] later, unless it is terminating.
pub async fn find_unready(context: &CheckContext, dns: &DnsFacts, tally: &mut Tally) {
    let first = unready(context, dns).await;
    if first.is_empty() {
        return;
    }
    tokio::time::sleep(AGAIN).await;
    let (namespace, name) = &dns.service;
    for (address, pod) in unready(context, dns).await {
        if first.contains_key(&address) {
            tally.finding(
                format!("endpoint {pod} ({address}) of Service {namespace}/{name}"),
                "ready, so that it answers its share of the questions",
                format!("not ready now and {} s ago", AGAIN.as_secs()),
            );
        }
    }
}

/// Address and pod of the endpoints that are not ready. None where the slices cannot be read: the replicas that are
/// known are asked all the same.
async fn unready(context: &CheckContext, dns: &DnsFacts) -> BTreeMap<String, String> {
    let (namespace, name) = &dns.service;
    if name.is_empty() {
        return BTreeMap::new();
    }
    let cluster = context.instance.from();
    let listed = context
        .environment
        .list(cluster, "discovery.k8s.io/v1", "EndpointSlice", Some(namespace))
        .await;
    let slices = match listed {
        Ok(slices) => slices,
        Err(error) => {
            context.note(format!(
                "endpoints could not be read, so unready ones are not found: {error}"
            ));
            return BTreeMap::new();
        }
    };
    let is_of_dns = |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name.as_str();
    let endpoints = slices
        .iter()
        .filter(is_of_dns)
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let waiting = endpoints.filter(|e| e["conditions"]["ready"] == false && e["conditions"]["terminating"] != true);
    waiting
        .filter_map(|endpoint| {
            let address = endpoint["addresses"][0].as_str()?;
            let pod = endpoint["targetRef"]["name"].as_str().unwrap_or("of no pod");
            Some((address.to_owned(), pod.to_owned()))
        })
        .collect()
}
