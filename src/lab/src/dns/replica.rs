//! One DNS server: follows its cluster's objects and listens in its pod's network namespace. Like the process that it
//! would be in a cluster, it has a thread of its own: whatever else the lab's process is busy with, questions are
//! answered.

use super::{
    server::{ClusterView, CurrentZone, Handler},
    source::ZoneSource,
    zone::Zone,
};
use crate::{
    fault::{Fault, Layer, Scope},
    informer::Informer,
    state::{ClusterState, LabState, NodeState},
    topology::CLUSTER_DOMAIN,
};
use hickory_server::Server;
use meshproof_apiserver::{
    Store,
    resource::names::{ENDPOINT_SLICES, NAMESPACES, SERVICES},
};
use meshproof_datapath::netns::{Namespace, NamespaceError};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// For how long a replica is silent that is ready too early.
const EARLY: Duration = Duration::from_secs(5);
/// How long an idle TCP connection is kept.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that wait to be written to one TCP connection.
const TCP_BUFFER: usize = 32;

/// Why a DNS server could not start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// Its pod's namespace cannot be entered.
    #[error("failed to enter the network namespace of DNS pod {pod}")]
    Namespace {
        /// The pod.
        pod: String,
        /// Why.
        #[source]
        source: NamespaceError,
    },
    /// A port is taken, or may not be used.
    #[error("failed to listen on port {port} in DNS pod {pod}")]
    Listen {
        /// The pod.
        pod: String,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No thread for it.
    #[error("failed to start the thread of DNS pod {pod}")]
    Thread {
        /// The pod.
        pod: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A server that listens. Dropping it closes its sockets.
pub struct Replica {
    _stop: DropGuard,
    ended: oneshot::Receiver<()>,
}

/// The pod of a replica.
pub struct ReplicaPod {
    /// The lab: faults, other clusters.
    pub lab: Arc<LabState>,
    /// Its cluster.
    pub cluster: Arc<ClusterState>,
    /// Its name.
    pub name: String,
    /// Its network namespace.
    pub namespace: Namespace,
}

impl Replica {
    /// Waits for the first complete view of the cluster's objects, then listens on UDP and TCP.
    ///
    /// # Errors
    /// When the sockets cannot be made.
    pub async fn start(pod: ReplicaPod, port: u16, stop: &CancellationToken) -> Result<Self, DnsError> {
        let stop = stop.child_token();
        let store = &pod.cluster.store;
        let informer = Informer::start(store, &[NAMESPACES, SERVICES, ENDPOINT_SLICES], &stop);
        let mut changes = informer.changes();
        informer.synced().await;
        let current = Arc::new(CurrentZone::new(zone(&informer)));
        let sockets = pod.namespace.within(|| listen(port));
        let sockets = sockets.map_err(|source| DnsError::Namespace {
            pod: pod.name.clone(),
            source,
        })?;
        let sockets = sockets.map_err(|source| DnsError::Listen {
            pod: pod.name.clone(),
            port,
            source,
        })?;

        let view = InLab {
            lab: pod.lab,
            cluster: pod.cluster,
            pod: pod.name,
            started: Instant::now(),
        };
        let (following, site, token) = (Arc::clone(&current), view.clone(), stop.clone());
        let mut faults = site.lab.faults.follow();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    going = changes.next() => if !going { return },
                    _ = faults.changed() => {}
                }
                if !site.faults().contains(&Fault::DnsReplicaStale) {
                    following.set(zone(&informer));
                }
            }
        });
        let pod = view.pod.clone();
        let handler = Handler {
            zone: current,
            cluster: view,
        };
        let ended = serve(handler, sockets, stop.clone()).map_err(|source| DnsError::Thread { pod, source })?;
        Ok(Self {
            _stop: stop.drop_guard(),
            ended,
        })
    }

    /// Waits until the token that it was started with is cancelled and the server has ended.
    pub async fn ended(self) {
        // The sender goes with its thread, whatever ends that.
        let _ = self.ended.await;
    }
}

/// Serves in a thread of its own until it is stopped; the receiver learns of the end.
fn serve(
    handler: Handler<InLab>,
    (udp, tcp): (std::net::UdpSocket, std::net::TcpListener),
    stop: CancellationToken,
) -> io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (udp, tcp) = {
        let _inside = runtime.enter();
        (
            tokio::net::UdpSocket::from_std(udp)?,
            tokio::net::TcpListener::from_std(tcp)?,
        )
    };
    let (end, ended) = oneshot::channel();
    let serving = async move {
        let mut server = Server::new(handler);
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_BUFFER);
        stop.cancelled().await;
        if let Err(error) = server.shutdown_gracefully().await {
            tracing::debug!(%error, "a DNS server did not end cleanly");
        }
    };
    std::thread::Builder::new().name("dns".into()).spawn(move || {
        runtime.block_on(serving);
        drop(end);
    })?;
    Ok(ended)
}

fn listen(port: u16) -> io::Result<(std::net::UdpSocket, std::net::TcpListener)> {
    let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    let udp = std::net::UdpSocket::bind(address)?;
    let tcp = std::net::TcpListener::bind(address)?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

fn zone(informer: &Informer) -> Zone {
    let (namespaces, services, slices) = (
        informer.all(&NAMESPACES),
        informer.all(&SERVICES),
        informer.all(&ENDPOINT_SLICES),
    );
    let source = ZoneSource {
        domain: CLUSTER_DOMAIN,
        namespaces: &namespaces.iter().map(|object| &**object).collect::<Vec<&Value>>(),
        services: &services.iter().map(|object| &**object).collect::<Vec<&Value>>(),
        slices: &slices.iter().map(|object| &**object).collect::<Vec<&Value>>(),
    };
    source.zone()
}

/// The clusters as a replica of the lab sees them.
#[derive(Clone)]
struct InLab {
    lab: Arc<LabState>,
    cluster: Arc<ClusterState>,
    pod: String,
    started: Instant,
}

impl InLab {
    /// Whether a fault acts on this replica.
    fn acts(&self, fault: Fault) -> bool {
        let spec = fault.spec();
        spec.layer == Layer::Dns
            && self.lab.acts_in(fault, self.cluster.name())
            && (spec.scope != Scope::FirstDnsReplica || self.is_drawn(fault))
    }

    /// Whether [`Fault::DnsDiesWithNode`] silences DNS in this cluster now.
    fn is_dead(&self) -> bool {
        let is_down = |node: &Arc<NodeState>| !*node.online().borrow();
        self.acts(Fault::DnsDiesWithNode) && self.cluster.nodes().iter().any(is_down)
    }

    /// Whether it is the replica that was drawn for the fault.
    fn is_drawn(&self, fault: Fault) -> bool {
        let pods = self.cluster.nodes().iter().flat_map(|node| node.pods());
        let replicas = pods.filter(|pod| pod.namespace == "kube-system" && pod.name.starts_with("coredns-"));
        let replicas: BTreeSet<String> = replicas.map(|pod| pod.name).collect();
        let order = self.lab.places.order(fault, "DNS replicas", replicas.len());
        let drawn = order.first().and_then(|at| replicas.iter().nth(*at));
        drawn == Some(&self.pod)
    }
}

impl ClusterView for InLab {
    fn faults(&self) -> BTreeSet<Fault> {
        if self.is_dead() {
            return BTreeSet::from([Fault::DnsSilentUdp, Fault::DnsSilentTcp]);
        }
        if self.acts(Fault::DnsReadyEarly) && self.started.elapsed() < EARLY {
            return BTreeSet::from([Fault::DnsSilentUdp, Fault::DnsSilentTcp]);
        }
        let mut faults = self.lab.faults.all();
        faults.retain(|fault| self.acts(*fault));
        faults
    }

    fn lost(&self) -> f64 {
        self.lab.faults.share(Fault::DnsLossy)
    }

    fn delay(&self) -> Duration {
        self.lab.faults.time(Fault::DnsSlow)
    }

    fn elsewhere(&self, namespace: &str, service: &str) -> Option<Ipv4Addr> {
        self.lab
            .others(self.cluster.name())
            .find_map(|cluster| cluster_ip(&cluster.store, namespace, service))
    }

    fn is_global(&self, namespace: &str, service: &str) -> bool {
        let found = self.cluster.store.find(&SERVICES, Some(namespace), service);
        found.is_some_and(|service| crate::mesh::is_global(&service))
    }

    fn departed(&self) -> Ipv4Addr {
        let node = self.cluster.spec.nodes.first();
        node.map_or(Ipv4Addr::UNSPECIFIED, |node| node.unused_address())
    }
}

fn cluster_ip(store: &Store, namespace: &str, service: &str) -> Option<Ipv4Addr> {
    store.find(&SERVICES, Some(namespace), service)?["spec"]["clusterIP"]
        .as_str()?
        .parse()
        .ok()
}
