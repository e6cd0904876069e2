//! Endpoints of the DNS Service that get no questions: they are not ready.

use meshproof_contract::{CheckContext, DnsFacts, Tally};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between the two looks that must both see an endpoint unready.
const AGAIN: Duration = Duration::from_secs(10);

/// A finding for each endpoint that is not ready now and is not [`AGAIN`] later, unless it is on its way out.
pub async fn tell_unready(context: &CheckContext, dns: &DnsFacts, tally: &mut Tally) {
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
                "ready, so that it takes its share of the questions",
                format!("not ready, {} s ago and now", AGAIN.as_secs()),
            );
        }
    }
}

/// Address and pod of the endpoints that are not ready. None where the slices cannot be read: the replicas that are known are asked all
/// the same.
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
            context.note(format!("endpoints that are not ready could not be looked for: {error}"));
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
