//! `cilium-dbg troubleshoot clustermesh` and `kvstoremesh-dbg troubleshoot`: connections made for the question. The
//! agents' go to the etcd of their own cluster, as the real ones' do with KVStoreMesh; KVStoreMesh's go to the others'.

use super::pods::CiliumPods;
use crate::{fault::Fault, mesh::ETCD_PORT, state::ClusterState, system::SystemContainer};
use jiff::Timestamp;
use meshproof_apiserver::resource::names::SERVICES;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, SystemTime},
};
use tokio::{net::TcpSocket, time::timeout};

const DEADLINE: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(86_400);
/// The chart's `certValidityDuration`.
const VALID: Duration = Duration::from_secs(1095 * 86_400);

/// A connection to an etcd.
struct Connection {
    /// Its host, as the configuration has it.
    host: String,
    /// Where that leads; none if it does not resolve.
    address: Option<SocketAddrV4>,
    /// Common name of the client's certificate.
    client: String,
    /// Until when that is valid.
    until: SystemTime,
    /// Why TLS fails.
    untrusted: Option<&'static str>,
    /// The etcd's number; none if none serves.
    etcd: Option<u64>,
}

/// In an agent.
pub(super) async fn clustermesh(pods: &CiliumPods, container: &SystemContainer) -> String {
    let cluster = &container.cluster;
    let service = cluster
        .store
        .find(&SERVICES, Some("kube-system"), "clustermesh-apiserver");
    let address = service.and_then(|service| service["spec"]["clusterIP"].as_str()?.parse().ok());
    let connection = |_: &ClusterState| Connection {
        host: "clustermesh-apiserver.kube-system.svc".to_owned(),
        address: address.map(|address: Ipv4Addr| SocketAddrV4::new(address, ETCD_PORT)),
        client: format!("local-{}", cluster.name()),
        until: container.lab.started + VALID,
        untrusted: None,
        etcd: pods.mesh.serving(cluster.name()).first().map(|pod| pod.etcd_id()),
    };
    all(container, connection).await
}

/// In a KVStoreMesh.
pub(super) async fn kvstoremesh(pods: &CiliumPods, container: &SystemContainer) -> String {
    let (lab, own) = (&container.lab, container.cluster.name());
    let acts = |fault| lab.acts_in(fault, own);
    let connection = |other: &ClusterState| Connection {
        host: format!("{}.mesh.cilium.io", other.name()),
        address: crate::mesh::etcd_address(other, container.address),
        client: format!("remote-{own}"),
        until: if acts(Fault::MeshCertificateExpiring) {
            SystemTime::now() + lab.faults.time(Fault::MeshCertificateExpiring)
        } else {
            lab.started + VALID
        },
        untrusted: acts(Fault::MeshCertificateUntrusted)
            .then_some("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        etcd: pods.mesh.serving(other.name()).first().map(|pod| pod.etcd_id()),
    };
    all(container, connection).await
}

async fn all(container: &SystemContainer, connection: impl Fn(&ClusterState) -> Connection) -> String {
    let others: Vec<_> = container.lab.others(container.cluster.name()).collect();
    let mut text = format!("Found {} cluster configurations\n\n", others.len());
    for other in others {
        let name = other.name();
        text.push_str(&format!(
            "Cluster \"{name}\":\n📄 Configuration path: /var/lib/cilium/clustermesh/{name}\n\n"
        ));
        text.push_str(&connection(other).report(container).await);
    }
    text
}

impl Connection {
    async fn report(&self, container: &SystemContainer) -> String {
        let mut text = format!("🔌 Endpoints:\n   - https://{}:{ETCD_PORT}\n", self.host);
        let mut connected = false;
        match self.address {
            None => text.push_str("     ❌ Cannot resolve hostname\n"),
            Some(address) => {
                text.push_str(&format!("     ✅ Hostname resolved to: {}\n", address.ip()));
                match (reach(container, address).await, self.untrusted) {
                    (Err(error), _) => {
                        text.push_str(&format!(
                            "     ❌ Cannot establish TCP connection to {address}: {error}\n"
                        ));
                    }
                    (Ok(()), untrusted) => {
                        text.push_str(&format!(
                            "     ✅ TCP connection successfully established to {address}\n"
                        ));
                        text.push_str(&match untrusted {
                            Some(why) => format!("     ❌ Cannot establish TLS connection to {address}: {why}\n"),
                            None => format!(
                                "     ✅ TLS connection successfully established to {address}\n     ℹ️  Negotiated \
                                 TLS version: TLS 1.3, ciphersuite TLS_AES_128_GCM_SHA256\n"
                            ),
                        });
                        connected = untrusted.is_none();
                    }
                }
            }
        }
        let since = container.lab.started;
        text.push_str("\n🔑 Digital certificates:\n   ✅ TLS Root CA certificates:\n");
        text.push_str(&certificate("Cilium CA", since, since + VALID));
        text.push_str("   ✅ TLS client certificates:\n");
        text.push_str(&certificate(&self.client, since - DAY, self.until));
        text.push_str("\n⚙️ Etcd client:\n");
        text.push_str(&match self.etcd.filter(|_| connected) {
            Some(id) => format!("   ✅ Etcd connection successfully established\n   ℹ️  Etcd cluster ID: {id:x}\n\n"),
            None => "   ❌ Failed to establish etcd connection: context deadline exceeded\n\n".to_owned(),
        });
        text
    }
}

async fn reach(container: &SystemContainer, address: SocketAddrV4) -> std::io::Result<()> {
    let socket = container
        .namespace
        .within(TcpSocket::new_v4)
        .map_err(std::io::Error::other)??;
    timeout(DEADLINE, socket.connect(address.into())).await??;
    Ok(())
}

fn certificate(name: &str, from: SystemTime, until: SystemTime) -> String {
    let go = |time: SystemTime| {
        let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
    };
    format!(
        "      - Serial number:       41:f8:d4:2e:cb:9a:dc:c2:ca:23:eb:d6:16:5a:28:46\n        Subject:             \
         CN={name}\n        Issuer:              CN=Cilium CA\n        Validity:\n          Not before:  {}\n          \
         Not after:   {}\n",
        go(from),
        go(until)
    )
}
