//! Cilium's operator: leads as long as it holds its Lease, gives Services of type LoadBalancer their addresses, and
//! removes identities that no endpoint has had for long.

mod addresses;
mod leader;

use crate::{
    crd::{CILIUM_ENDPOINTS, CILIUM_IDENTITIES},
    mesh::OperatorStarts,
    system::SystemContainer,
};
use meshproof_apiserver::{DeleteOptions, ListOptions};
use std::{collections::BTreeSet, time::Duration};

/// `identity-gc-interval`. An identity must be unused in two rounds, which stands for `identity-heartbeat-timeout`
/// (30m).
const INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Its flags, as far as the chart gives it any; everything else it reads from its configuration.
const FLAGS: [&str; 2] = ["config-dir", "debug"];

pub(super) async fn run(container: &SystemContainer) -> i32 {
    if let Some(flag) = unknown_flag(container) {
        container.log.line(format!("Error: unknown flag: --{flag}"));
        return 1;
    }
    OperatorStarts::of(&container.cluster).count();
    let (_, _, code) = futures::join!(
        leader::lead(container),
        addresses::assign(container),
        collect(container)
    );
    code
}

/// The first of its arguments that is no flag of it.
fn unknown_flag(container: &SystemContainer) -> Option<String> {
    let containers = container.pod["spec"]["containers"].as_array().into_iter().flatten();
    let own = containers.filter(|one| one["name"] == container.name.as_str());
    let args = own.flat_map(|one| one["args"].as_array().into_iter().flatten());
    let flags = args.filter_map(|arg| arg.as_str()?.strip_prefix("--"));
    let names = flags.map(|flag| flag.split('=').next().unwrap_or_default());
    names.into_iter().find(|name| !FLAGS.contains(name)).map(str::to_owned)
}

async fn collect(container: &SystemContainer) -> i32 {
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
