//! Faults of what one agent has, at a place that is drawn: its lists show them, its data path acts on them, and no
//! other agent differs.

use super::inside::{self, agents};
use crate::client::{Clusters, LONG, Result, Test, block_on, command, deploy_agents, eventually, expect, name, text};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Client,
    api::{Api, ListParams},
};
use meshproof_contract::{Action, Outcome, Probe, Target, probe::Connection};
use meshproof_wire::{Answer, Command};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

pub const ALL: &[(&str, Test)] = &[
    (
        "a_fault_of_one_agents_state_shows_on_that_agent_only",
        one_agent_differs,
    ),
    (
        "a_dead_backend_that_one_node_keeps_loses_its_requests_only",
        a_dead_backend_loses_requests,
    ),
];

/// Requests to each service from each node: that none of them meets one backend of five happens in 1 of 600,000 runs.
const REQUESTS: usize = 60;

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

fn a_dead_backend_loses_requests() -> Result<()> {
    block_on(LONG, async {
        let it = Clusters::start().await?;
        let (near, far) = tokio::try_join!(deploy_agents(&it.infra, "infra", 3), deploy_agents(&it.apps, "apps", 3))?;
        it.lab
            .control()
            .inject("service-backend-dead-on-node")
            .await
            .map_err(text)?;
        let mut losing = Vec::new();
        for (client, pods) in [(&it.infra, &near), (&it.apps, &far)] {
            let services = Api::<Service>::namespaced(client.clone(), "demo");
            let services = services.list(&ListParams::default()).await.map_err(text)?;
            let addresses = services
                .iter()
                .filter_map(|service| service.spec.as_ref()?.cluster_ip.clone());
            let probes: Vec<Probe> = addresses
                .flat_map(|address| vec![request(&address); REQUESTS])
                .collect();
            for pod in pods {
                let (_, answer) = command(client, pod, Command::Batch { probes: probes.clone() }).await?;
                let Answer::Outcomes { outcomes } = answer else {
                    return Err(format!("the agent answered {answer:?}"));
                };
                let lost = outcomes
                    .iter()
                    .filter(|outcome| !matches!(outcome, Outcome::Answered { .. }));
                losing.extend(Some((name(pod).to_owned(), lost.count())).filter(|(_, lost)| *lost > 0));
            }
        }
        expect("requests lost on one node", losing.len() == 1, &losing)?;
        it.lab.shutdown().await.map_err(text)
    })
}

fn request(address: &str) -> Probe {
    let action = Action::Http {
        to: Target::new(address, 80),
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: 0,
        connection: Connection::default(),
    };
    Probe::once(action, Duration::from_secs(2))
}
