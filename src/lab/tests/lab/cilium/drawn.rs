//! Faults of what one agent has, at a place that is drawn: its lists show them, its data path acts on them, and no other
//! agent differs.

use super::inside::{self, agents};
use crate::client::{Clusters, LONG, Result, Test, block_on, eventually, expect, name, text};
use kube::Client;
use serde_json::Value;
use std::collections::BTreeMap;

pub const ALL: &[(&str, Test)] = &[(
    "a_fault_of_one_agents_state_shows_on_that_agent_only",
    one_agent_differs,
)];

/// The command that shows each fault.
const FAULTS: [(&str, &str); 7] = [
    ("service-backend-dead-on-node", "cilium-dbg bpf lb list -o json"),
    ("service-backend-missing-on-node", "cilium-dbg service list -o json"),
    ("ipcache-entry-missing", "cilium-dbg bpf ipcache list -o json"),
    ("ipcache-entry-stale", "cilium-dbg bpf ipcache list -o json"),
    ("ipcache-entry-wrong", "cilium-dbg ip list -o json"),
    ("identity-unknown-on-node", "cilium-dbg identity list -o json"),
    ("agent-settings-differ", "cilium-dbg config --all -o json"),
];

/// What every agent of both clusters prints, by its pod.
async fn printed(clusters: [&Client; 2], command: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for client in clusters {
        for agent in agents(client).await? {
            let output = inside::json(client, &agent, "cilium-agent", command).await?;
            all.insert(name(&agent).to_owned(), output);
        }
    }
    Ok(all)
}

fn one_agent_differs() -> Result<()> {
    block_on(LONG, async {
        let it = Clusters::start().await?;
        let clusters = [&it.infra, &it.apps];
        for (fault, command) in FAULTS {
            let before = printed(clusters, command).await?;
            it.lab.control().inject(fault).await.map_err(text)?;
            eventually(&format!("{fault} shows on one agent"), || async {
                let now = printed(clusters, command).await?;
                let other: Vec<&String> = now
                    .keys()
                    .filter(|agent| now.get(*agent) != before.get(*agent))
                    .collect();
                expect("one agent that differs", other.len() == 1, &other)
            })
            .await?;
            it.lab.control().heal(fault).await.map_err(text)?;
            eventually(&format!("{fault} heals"), || async {
                let healed = printed(clusters, command).await? == before;
                expect("every agent as before", healed, &fault)
            })
            .await?;
        }
        it.lab.shutdown().await.map_err(text)
    })
}
