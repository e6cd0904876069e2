//! A node's proxies: they listen in the node's namespace, ask the data path where a flow that it handed over was going,
//! decide by the rules in force, and speak to the other side in the client's name.

mod dns;
mod http;

use super::{
    decide::{DNS_EGRESS, Decision, Flow, HTTP_EGRESS, HTTP_INGRESS},
    policy_state::PolicyState,
};
use crate::state::{LabState, NodeState};
use meshproof_datapath::{
    Direction, Protocol, ProxyPort,
    switch::{ProxiedFlow, Upstream},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

/// Starts the proxies of every node.
pub(super) fn start(lab: &LabState, stop: &CancellationToken) {
    for (cluster, node) in lab.nodes() {
        for (port, direction) in [(HTTP_EGRESS, Direction::Egress), (HTTP_INGRESS, Direction::Ingress)] {
            let gate = Gate {
                node: Arc::clone(node),
                port,
                direction,
            };
            spawn(node, stop, async move { http::run(gate).await });
        }
        let gate = || Gate {
            node: Arc::clone(node),
            port: DNS_EGRESS,
            direction: Direction::Egress,
        };
        let refusal = dns::Refusal::of(cluster);
        let (over_udp, over_tcp) = (gate(), gate());
        spawn(node, stop, async move { dns::run_udp(over_udp, refusal).await });
        spawn(node, stop, async move { dns::run_tcp(over_tcp, refusal).await });
    }
}

fn spawn(node: &NodeState, stop: &CancellationToken, proxy: impl Future<Output = io::Result<()>> + Send + 'static) {
    let (name, stop) = (node.name().to_owned(), stop.clone());
    tokio::spawn(async move {
        if let Some(Err(error)) = stop.run_until_cancelled(proxy).await {
            tracing::error!(%error, node = name, "a proxy ended");
        }
    });
}

/// One proxy's view of its node. Cheap to clone.
#[derive(Clone)]
struct Gate {
    node: Arc<NodeState>,
    port: ProxyPort,
    direction: Direction,
}

/// A flow that was handed over.
#[derive(Clone, Copy)]
struct Handed {
    client: SocketAddrV4,
    protocol: Protocol,
    flow: ProxiedFlow,
}

impl Gate {
    /// Listens for TCP.
    fn listen(&self) -> io::Result<TcpListener> {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port.0);
        let bound = self.node.handle.namespace().within(|| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        });
        TcpListener::from_std(bound.map_err(io::Error::other)??)
    }

    /// A UDP socket on the address that redirected flows go to.
    fn bind(&self, port: u16) -> io::Result<UdpSocket> {
        let address = SocketAddrV4::new(self.node.handle.config().router, port);
        let bound = self.node.handle.namespace().within(|| {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        });
        UdpSocket::from_std(bound.map_err(io::Error::other)??)
    }

    /// What the data path knows of a client; none if it did not hand it over.
    async fn handed(&self, client: SocketAddr, protocol: Protocol) -> Option<Handed> {
        let SocketAddr::V4(client) = client else { return None };
        let flow = self.node.handle.proxied_flow(protocol, client, self.port).await?;
        Some(Handed { client, protocol, flow })
    }

    /// What the rules say about the flow now.
    fn decide(&self, handed: &Handed) -> Decision {
        let Some(rules) = PolicyState::of(&self.node).rules() else {
            return Decision::Allow;
        };
        let source = (*handed.client.ip(), handed.flow.source_identity);
        let destination = (*handed.flow.backend.ip(), handed.flow.destination_identity);
        let (endpoint, remote) = match self.direction {
            Direction::Egress => (source, destination),
            Direction::Ingress => (destination, source),
        };
        rules.decide(&Flow {
            direction: self.direction,
            endpoint: endpoint.0,
            endpoint_identity: endpoint.1,
            remote: remote.0,
            remote_identity: remote.1,
            protocol: handed.protocol,
            port: handed.flow.backend.port(),
            icmp: None,
        })
    }

    /// A connection to where the client was going, in its name.
    async fn connect(&self, handed: &Handed) -> io::Result<TcpStream> {
        let router = SocketAddrV4::new(self.node.handle.config().router, 0);
        let socket = self.node.handle.namespace().within(|| {
            let socket = TcpSocket::new_v4()?;
            socket.bind(router.into())?;
            Ok::<_, io::Error>(socket)
        });
        let socket = socket.map_err(io::Error::other)??;
        self.speak_for(handed, socket.local_addr()?).await;
        socket.connect(handed.flow.backend.into()).await
    }

    async fn speak_for(&self, handed: &Handed, local: SocketAddr) {
        if let SocketAddr::V4(local) = local {
            let upstream = Upstream {
                client: handed.client,
                after: self.direction,
            };
            self.node.handle.impersonate(handed.protocol, local, upstream).await;
        }
    }
}
