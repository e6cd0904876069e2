//! What the EndpointSlices of the service under test show of a pod: from then on the data path has to follow.

use super::{SCENARIO, now, recording::Recording, workload::unknown};
use meshproof_contract::{AgentFacts, CheckContext, Verdict};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Between two reads.
const INTERVAL: Duration = Duration::from_millis(50);

/// When they showed the pod's endpoint as it should be; none if they did not in that time. `fits` gets whether the
/// endpoint is ready, and none if it does not exist.
pub async fn shown(
    context: &CheckContext,
    recording: &mut Recording<'_>,
    pod: &AgentFacts,
    within: Duration,
    fits: impl Fn(Option<bool>) -> bool,
) -> Result<Option<Instant>, Verdict> {
    let begun = now();
    while now() - begun < within {
        let namespace = Some(pod.namespace.as_str());
        let slices = context
            .environment
            .list(&pod.id.cluster, "discovery.k8s.io/v1", "EndpointSlice", namespace)
            .await
            .map_err(unknown)?;
        if fits(is_ready(&slices, &pod.id.pod)) {
            return Ok(Some(now()));
        }
        recording.collect().await?;
        sleep(INTERVAL).await;
    }
    Ok(None)
}

/// Whether a pod's endpoint of the service is ready and not terminating; none if there is none.
fn is_ready(slices: &[Value], pod: &str) -> Option<bool> {
    let service = format!("{SCENARIO}-local");
    let slices = slices
        .iter()
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service.as_str());
    let mut endpoints = slices.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let endpoint = endpoints.find(|endpoint| endpoint["targetRef"]["name"] == pod)?;
    let conditions = &endpoint["conditions"];
    // Unknown counts as ready (`EndpointConditions`).
    Some(conditions["ready"].as_bool().unwrap_or(true) && conditions["terminating"] != true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_endpoint_is_ready_if_its_slice_says_so_and_it_is_not_terminating() {
        let slices = |conditions: Value| {
            let labels = json!({"kubernetes.io/service-name": "failover-local"});
            vec![json!({
                "metadata": {"labels": labels},
                "endpoints": [{"targetRef": {"name": "b-1"}, "conditions": conditions}],
            })]
        };
        assert_eq!(is_ready(&slices(json!({"ready": true})), "b-1"), Some(true));
        assert_eq!(is_ready(&slices(json!({})), "b-1"), Some(true));
        assert_eq!(is_ready(&slices(json!({"ready": false})), "b-1"), Some(false));
        let terminating = json!({"ready": true, "serving": true, "terminating": true});
        assert_eq!(is_ready(&slices(terminating), "b-1"), Some(false));
        assert_eq!(is_ready(&slices(json!({"ready": true})), "b-2"), None);
    }
}
