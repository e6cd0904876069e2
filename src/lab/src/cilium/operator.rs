//! Cilium's operator: removes identities that no endpoint has had for long.

use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES},
    system::SystemContainer,
};
use meshproof_apiserver::{DeleteOptions, ListOptions};
use std::{collections::BTreeSet, time::Duration};

/// `identity-gc-interval`. An identity must be unused in two rounds, which stands for `identity-heartbeat-timeout`
/// (30m).
const INTERVAL: Duration = Duration::from_secs(15 * 60);

pub(super) async fn run(container: &SystemContainer) -> i32 {
    let store = container.cluster.store.writing_as("cilium-operator-generic");
    let mut unused_before = BTreeSet::new();
    while container
        .stop
        .run_until_cancelled(tokio::time::sleep(INTERVAL))
        .await
        .is_some()
    {
        let options = ListOptions::default();
        let (Ok(endpoints), Ok(identities)) = (
            store.list(&CILIUM_ENDPOINTS, None, &options),
            store.list(&CILIUM_IDENTITIES, None, &options),
        ) else {
            continue;
        };
        let used: BTreeSet<_> = endpoints
            .items
            .iter()
            .filter_map(|e| e["status"]["identity"]["id"].as_u64())
            .map(|id| id.to_string())
            .collect();
        let unused: BTreeSet<_> = identities
            .items
            .iter()
            .map(|i| i.name().to_owned())
            .filter(|name| !used.contains(name))
            .collect();
        for name in unused.intersection(&unused_before) {
            if let Err(error) = store.delete(&CILIUM_IDENTITIES, None, name, &DeleteOptions::now()) {
                container.log.line(format!(
                    "level=warning msg=\"unable to delete identity\" identity={name} error={error}"
                ));
            }
        }
        unused_before = unused;
    }
    0
}
