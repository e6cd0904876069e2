//! The global Services of the clusters, for proposals of flows.

use crate::{Contexts, api::Operation};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Service;
use kube::{ResourceExt, api::ListParams};
use meshproof_contract::ClusterName;

/// A port of a Service that the clusters of a mesh share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlobalService {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The port.
    pub port: u16,
}

/// The global Services of all clusters, a row for each TCP port; none where they may not be listed.
pub async fn global_services(contexts: &Contexts) -> Vec<GlobalService> {
    let listed = contexts.clients().iter().map(|client| async move {
        let all = client.within_or_all::<Service>(None);
        let params = ListParams::default();
        let listed = client
            .call_again(Operation::on("list", "services"), || all.list(&params))
            .await;
        let listed = listed.map(|listed| listed.items).unwrap_or_default().into_iter();
        let ports = listed.filter(is_global).flat_map(|service| {
            let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
            let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default().into_iter();
            let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
            let ports = tcp.filter_map(|port| u16::try_from(port.port).ok());
            ports.map(move |port| GlobalService {
                cluster: client.name().clone(),
                namespace: namespace.clone(),
                name: name.clone(),
                port,
            })
        });
        ports.collect::<Vec<_>>()
    });
    let mut found: Vec<_> = join_all(listed).await.into_iter().flatten().collect();
    found.sort();
    found
}

/// The annotation, and the one of old; clustermesh documentation of Cilium.
fn is_global(service: &Service) -> bool {
    let keys = ["service.cilium.io/global", "io.cilium/global-service"];
    keys.iter()
        .any(|key| service.annotations().get(*key).is_some_and(|value| value == "true"))
}
