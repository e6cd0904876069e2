//! `cilium-dbg troubleshoot clustermesh`: whether the agent reaches the etcd of its own cluster. Like the real command it
//! says nothing about the other cluster when KVStoreMesh is in use.

use std::net::SocketAddrV4;
use std::time::Duration;

use meshproof_apiserver::resource::names::SERVICES;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::module::CiliumModule;
use crate::system::SystemContainer;

const DEADLINE: Duration = Duration::from_secs(5);

pub(super) async fn clustermesh(module: &CiliumModule, container: &SystemContainer) -> String {
    let others: Vec<_> = container.lab.others(container.cluster.name()).collect();
    let mut text = format!("Found {} cluster configurations\n\n", others.len());
    for other in others {
        text.push_str(&format!(
            "Cluster \"{name}\":\n📄 Configuration path: /var/lib/cilium/clustermesh/{name}\n\n🔌 Endpoints:\n   - \
             https://clustermesh-apiserver.kube-system.svc:2379\n",
            name = other.name()
        ));
        text.push_str(&endpoint(container).await);
        let serving = module.mesh.serving(container.cluster.name());
        text.push_str("\n⚙️ Etcd client:\n");
        text.push_str(&match serving.first() {
            Some(pod) => format!(
                "   ✅ Etcd connection successfully established\n   ℹ️  Etcd cluster ID: {:x}\n\n",
                pod.etcd_id()
            ),
            None => "   ❌ Failed to establish etcd connection: context deadline exceeded\n\n".to_owned(),
        });
    }
    text
}

async fn endpoint(container: &SystemContainer) -> String {
    let service = container
        .cluster
        .store
        .find(&SERVICES, Some("kube-system"), "clustermesh-apiserver");
    let address = service.and_then(|service| service["spec"]["clusterIP"].as_str()?.parse().ok());
    let Some(address) = address.map(|address| SocketAddrV4::new(address, 2379)) else {
        return "     ❌ Cannot resolve hostname\n".to_owned();
    };
    let connected = async {
        let socket = container
            .namespace
            .within(TcpSocket::new_v4)
            .map_err(std::io::Error::other)??;
        timeout(DEADLINE, socket.connect(address.into())).await?
    };
    let resolved = format!("     ✅ Hostname resolved to: {}\n", address.ip());
    resolved
        + &match connected.await {
            Ok(_) => format!("     ✅ TCP connection successfully established to {address}\n"),
            Err(error) => format!("     ❌ Cannot establish TCP connection to {address}: {error}\n"),
        }
}
