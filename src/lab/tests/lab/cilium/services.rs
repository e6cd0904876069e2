//! Global services, and changes that no longer reach the other cluster.

use super::inside::{self, agents, is_complete, kvstoremesh, status};
use crate::client::{Clusters, LONG, Result, Test, address, block_on, deploy_agents, eventually, expect, text};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Client,
    api::{Api, DeleteParams, PostParams},
};
use serde_json::{Value, json};
use std::time::Duration;

pub const ALL: &[(&str, Test)] = &[
    (
        "a_global_service_gets_the_other_clusters_backends",
        a_global_service_is_merged,
    ),
    (
        "a_stopped_propagation_leaves_every_status_green",
        a_stopped_propagation_is_silent,
    ),
];

pub(super) fn service(name: &str, annotations: Value) -> Result<Service> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "test", "annotations": annotations},
        "spec": {"selector": {"app": "agent"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }))
    .map_err(text)
}

/// Addresses of a service's backends, as the first agent of a cluster has them.
async fn backends(client: &Client, wanted: &str) -> Result<Vec<String>> {
    let agent = agents(client).await?.remove(0);
    let all = inside::json(client, &agent, "cilium-agent", "cilium-dbg service list -o json").await?;
    let service = all
        .as_array()
        .into_iter()
        .flatten()
        .find(|s| s["spec"]["flags"]["name"] == wanted);
    let addresses = service
        .and_then(|s| s["spec"]["backend-addresses"].as_array().cloned())
        .unwrap_or_default();
    let mut addresses: Vec<_> = addresses
        .iter()
        .filter_map(|b| b["ip"].as_str().map(str::to_owned))
        .collect();
    addresses.sort();
    Ok(addresses)
}

fn a_global_service_is_merged() -> Result<()> {
    block_on(LONG, async {
        let it = Clusters::start().await?;
        let (near, far) = tokio::try_join!(deploy_agents(&it.infra, "infra", 3), deploy_agents(&it.apps, "apps", 3))?;
        let (near, far): (Vec<_>, Vec<_>) = (near.iter().map(address).collect(), far.iter().map(address).collect());
        let of = |client: &Client| Api::<Service>::namespaced(client.clone(), "test");
        let post = PostParams::default();
        let global = json!({"service.cilium.io/global": "true"});
        for client in [&it.infra, &it.apps] {
            of(client)
                .create(&post, &service("global", global.clone())?)
                .await
                .map_err(text)?;
            of(client)
                .create(&post, &service("plain", json!({}))?)
                .await
                .map_err(text)?;
        }
        let closed = json!({"service.cilium.io/global": "true", "service.cilium.io/shared": "false"});
        of(&it.infra)
            .create(&post, &service("closed", global)?)
            .await
            .map_err(text)?;
        of(&it.apps)
            .create(&post, &service("closed", closed)?)
            .await
            .map_err(text)?;
        let mut both = [near.clone(), far].concat();
        both.sort();
        let mut own = near;
        own.sort();
        eventually("a global service has both clusters' backends", || async {
            let found = backends(&it.infra, "global").await?;
            expect("all six", found == both, &found)
        })
        .await?;
        for name in ["plain", "closed"] {
            let found = backends(&it.infra, name).await?;
            expect(&format!("only own backends of {name}"), found == own, &found)?;
        }
        of(&it.apps)
            .delete("global", &DeleteParams::default())
            .await
            .map_err(text)?;
        eventually("backends go with the other cluster's service", || async {
            let found = backends(&it.infra, "global").await?;
            expect("its own three", found == own, &found)
        })
        .await?;
        it.lab.shutdown().await.map_err(text)
    })
}

fn a_stopped_propagation_is_silent() -> Result<()> {
    block_on(LONG, async {
        let it = Clusters::start().await?;
        deploy_agents(&it.infra, "infra", 3).await?;
        let namespace = json!({"metadata": {"name": "test"}});
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(it.apps.clone());
        let post = PostParams::default();
        namespaces
            .create(&post, &serde_json::from_value(namespace).map_err(text)?)
            .await
            .map_err(text)?;
        let of = |client: &Client| Api::<Service>::namespaced(client.clone(), "test");
        let control = it.lab.control();
        control.inject("mesh-propagation-stopped").await.map_err(text)?;
        for client in [&it.infra, &it.apps] {
            let global = service("late", json!({"service.cilium.io/global": "true"}))?;
            of(client).create(&post, &global).await.map_err(text)?;
        }
        // Long enough for any change to arrive that is not stopped: it takes tens of milliseconds.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let found = backends(&it.apps, "late").await?;
        expect("nothing of infra in apps", found.is_empty(), &found)?;
        let agent = agents(&it.apps).await?.remove(0);
        let remote = status(&it.apps, &agent).await?["cluster-mesh"]["clusters"][0].clone();
        let links = kvstoremesh(&it.apps).await?;
        expect(
            "a green status",
            is_complete(&remote) && links.iter().all(is_complete),
            &(remote, links),
        )?;
        control.heal_all().await.map_err(text)?;
        eventually("what was held back arrives", || async {
            let found = backends(&it.apps, "late").await?;
            expect("three backends of infra", found.len() == 3, &found)
        })
        .await?;
        it.lab.shutdown().await.map_err(text)
    })
}
