//! Cluster DNS, replica by replica.

use super::{inside, services::service};
use crate::client::{
    Clusters, LONG, Result, Test, address, block_on, command, deploy_agents, eventually, expect, name, text,
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Client,
    api::{Api, PostParams},
};
use meshproof_contract::{Action, Outcome, Probe, RecordType, Search, Transport};
use meshproof_wire::{Answer, Command};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};

pub const ALL: &[(&str, Test)] = &[("dns_answers_from_every_replica", dns_answers)];

async fn ask(
    client: &Client,
    from: &Pod,
    name: &str,
    record: RecordType,
    server: Option<SocketAddr>,
    over: Transport,
) -> Result<Outcome> {
    let action = Action::Dns {
        name: name.to_owned(),
        record,
        server,
        transport: over,
        search: if name.ends_with('.') {
            Search::Absolute
        } else {
            Search::ResolvConf
        },
    };
    let probes = vec![Probe::once(action, Duration::from_secs(3))];
    match command(client, from, Command::Batch { probes }).await? {
        (_, Answer::Outcomes { outcomes }) => outcomes.into_iter().next().ok_or_else(|| "no outcome".to_owned()),
        (_, other) => Err(format!("the agent answered {other:?}")),
    }
}

fn dns_answers() -> Result<()> {
    block_on(LONG, async {
        let it = Clusters::start().await?;
        let pods = deploy_agents(&it.infra, "infra", 3).await?;
        let services: Api<Service> = Api::namespaced(it.infra.clone(), "test");
        let made = services
            .create(&PostParams::default(), &service("web", json!({}))?)
            .await
            .map_err(text)?;
        let cluster_ip = made.spec.and_then(|spec| spec.cluster_ip).ok_or("no cluster IP")?;
        let replicas = inside::pods(&it.infra, "k8s-app=kube-dns").await?;
        expect(
            "two replicas",
            replicas.len() == 2,
            &replicas.iter().map(name).collect::<Vec<_>>(),
        )?;
        let mut servers = vec![None];
        for replica in &replicas {
            servers.push(Some(
                format!("{}:53", address(replica)).parse::<SocketAddr>().map_err(text)?,
            ));
        }
        let whole = "web.test.svc.cluster.local.";
        for server in servers.iter().copied() {
            for over in [Transport::Udp, Transport::Tcp] {
                eventually("the name leads to the cluster IP", || async {
                    let outcome = ask(&it.infra, &pods[0], whole, RecordType::A, server, over).await?;
                    expect(&cluster_ip, format!("{outcome:?}").contains(&cluster_ip), &outcome)
                })
                .await?;
                let absent = ask(
                    &it.infra,
                    &pods[0],
                    "gone.test.svc.cluster.local.",
                    RecordType::A,
                    server,
                    over,
                )
                .await?;
                expect("NXDOMAIN", format!("{absent:?}").contains("NxDomain"), &absent)?;
            }
        }
        let short = ask(&it.infra, &pods[0], "web", RecordType::A, None, Transport::Udp).await?;
        expect(
            "the short name to resolve",
            format!("{short:?}").contains(&cluster_ip),
            &short,
        )?;

        let control = it.lab.control();
        control.inject("dns-silent-udp").await.map_err(text)?;
        let mut silent = 0;
        for server in &servers[1..] {
            let outcome = ask(&it.infra, &pods[0], whole, RecordType::A, *server, Transport::Udp).await?;
            silent += usize::from(!format!("{outcome:?}").contains(&cluster_ip));
        }
        expect("one silent replica", silent == 1, &silent)?;
        it.lab.shutdown().await.map_err(text)
    })
}
