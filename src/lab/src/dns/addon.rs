//! Cluster DNS as a part of the lab: its objects and its image.

use super::{
    install,
    replica::{Replica, ReplicaPod},
};
use crate::{
    health::ready_endpoint,
    state::{ClusterState, LabState},
    system::{Addon, SystemContainer, SystemImage},
};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// CoreDNS in every cluster.
pub struct DnsAddon;

#[async_trait]
impl Addon for DnsAddon {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn manifests(&self, _: &LabState, cluster: &ClusterState) -> Vec<Value> {
        install::objects(&cluster.spec)
    }

    fn images(&self) -> Vec<Arc<dyn SystemImage>> {
        vec![Arc::new(CoreDns)]
    }
}

struct CoreDns;

#[async_trait]
impl SystemImage for CoreDns {
    fn matches(&self, image: &str) -> bool {
        image == install::IMAGE
    }

    async fn run(&self, container: SystemContainer) -> i32 {
        let pod = ReplicaPod {
            lab: Arc::clone(&container.lab),
            cluster: Arc::clone(&container.cluster),
            name: container.pod.name().to_owned(),
            namespace: container.namespace.clone(),
        };
        let replica = match Replica::start(pod, port(&container), &container.stop).await {
            Ok(replica) => replica,
            Err(error) => {
                container.log.line(format!(
                    "[FATAL] plugin/ready: {error}: {:?}",
                    std::error::Error::source(&error)
                ));
                return 1;
            }
        };
        container.log.line(".:53");
        container.log.line("CoreDNS-1.12.1");
        if let Err(error) = ready_endpoint(&container, install::READY_PORT) {
            container.log.line(format!("[FATAL] plugin/ready: {error}"));
            return 1;
        }
        replica.ended().await;
        0
    }
}

/// The port that the pod's specification names `dns`.
fn port(container: &SystemContainer) -> u16 {
    let containers = container.pod["spec"]["containers"].as_array().into_iter().flatten();
    let own = containers.filter(|c| c["name"] == container.name.as_str());
    let mut ports = own.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    let named = ports.find(|port| port["name"] == "dns");
    named
        .and_then(|port| port["containerPort"].as_u64())
        .and_then(|port| port.try_into().ok())
        .unwrap_or(53)
}
