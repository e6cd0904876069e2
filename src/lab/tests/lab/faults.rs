//! Faults and lost nodes of a lab, as its pods meet them.

use crate::client::{
    Result, SHORT, Test, address, all_connected, block_on, client, deploy_agents, end_lab, eventually, is_ready, name,
    reach, ready_pods, start_lab, text,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use meshproof_lab::{LabOptions, NodeGrace, launch};
use std::time::Duration;

pub const ALL: &[(&str, Test)] = &[
    ("a_fault_acts_and_heals", a_fault_acts_and_heals),
    (
        "a_lost_node_is_noticed_late_and_comes_back",
        a_lost_node_is_noticed_late,
    ),
];

fn a_fault_acts_and_heals() -> Result<()> {
    block_on(SHORT, async {
        let lab = start_lab().await?;
        let infra = client(lab.kubeconfig(), "infra").await?;
        let mut pods = deploy_agents(&infra, "infra", 3).await?;
        pods.sort_by_key(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
        let second = [address(&pods[1])];
        let control = lab.control();
        let before = reach(&infra, &pods[0], &second).await?;
        control.inject("node-pair-blackhole").await.map_err(text)?;
        let under = reach(&infra, &pods[0], &second).await?;
        let other = reach(&infra, &pods[0], &[address(&pods[2])]).await?;
        control.heal("node-pair-blackhole").await.map_err(text)?;
        let after = reach(&infra, &pods[0], &second).await?;
        if !all_connected(&before) || all_connected(&under) || !all_connected(&other) || !all_connected(&after) {
            return Err(format!(
                "expected an answer before, none under the fault, one from elsewhere, one after; got {before:?} \
                 {under:?} {other:?} {after:?}"
            ));
        }
        match control.inject("no-such-fault").await {
            Err(error) if error.to_string().contains("no-such-fault") => {}
            other => return Err(format!("an unknown fault should be refused by name, got {other:?}")),
        }
        end_lab(lab).await
    })
}

fn a_lost_node_is_noticed_late() -> Result<()> {
    block_on(SHORT, async {
        let mut options = LabOptions::default();
        options.lab.node_grace = NodeGrace(Duration::from_secs(1));
        let lab = launch(options).await.map_err(text)?;
        let apps = client(lab.kubeconfig(), "apps").await?;
        let pods = deploy_agents(&apps, "apps", 3).await?;
        let on_lost = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some("apps-3");
        let victim = name(pods.iter().find(on_lost).ok_or("no agent on apps-3")?).to_owned();
        let api: Api<Pod> = Api::namespaced(apps.clone(), "test");
        lab.control().inject("node-lost").await.map_err(text)?;
        eventually("a pod of a lost node loses its readiness and nothing else", || async {
            let pod = api.get(&victim).await.map_err(text)?;
            let status = pod.status.clone().unwrap_or_default();
            let container = status
                .container_statuses
                .as_ref()
                .and_then(|all| all.first().map(|c| c.ready));
            let running = status.phase.as_deref() == Some("Running") && container == Some(true);
            if !is_ready(&pod) && running {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await?;
        lab.control().heal("node-lost").await.map_err(text)?;
        ready_pods(&apps, 3).await?;
        end_lab(lab).await
    })
}
