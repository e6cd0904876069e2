//! The node's thread: reads packets in batches, lets the switch decide, and writes what it decided. The switch, the
//! tunnels and the fabric's rules are elsewhere; here they meet the sockets.

mod carry;
mod faults;

use super::devices::{self, Devices};
use crate::{
    config::{Encryption, NodeConfig, Peer, PodConfig, Routing, SecretKey},
    device::Mac,
    fabric::{Fabric, Notice, Port, Uplink},
    fault::{Fault, FaultId},
    flow::Counters,
    packet::{Packet, PacketPool},
    reactor::{DelayQueue, Reactor},
    service::Service,
    socket::{Batch, Outbox, PacketSocket},
    socket_balancer::SocketBalancer,
    switch::{Delivery, PeerIndex, Switch, Target},
    wireguard::{Outcome, PeerStatus, WireGuard},
};
use std::{
    collections::{HashMap, HashSet},
    io,
    net::Ipv4Addr,
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant, SystemTime},
};

/// What the node's thread is asked to do.
pub(super) enum Command {
    Do(Box<dyn FnOnce(&mut Worker) + Send>),
    Stop,
}

/// How often WireGuard's timers run; its shortest is five seconds.
const TICK: Duration = Duration::from_millis(250);

const FABRIC: u64 = 0;
const HOST: u64 = 1;
const WIRE: u64 = 2;
const WIREGUARD: u64 = 3;
const VXLAN: u64 = 4;
const SECOND: u64 = 5;
const SECOND_FABRIC: u64 = 6;
const FIRST_POD: u64 = 7;

/// A pod's link, ready to be watched.
pub(super) struct Attached {
    pub socket: PacketSocket,
    pub mac: Mac,
}

struct Pod {
    address: Ipv4Addr,
    mac: Mac,
    socket: PacketSocket,
    outbox: Outbox,
}

struct Outboxes {
    host: Outbox,
    wire: Outbox,
    second: Outbox,
    wireguard: Option<Outbox>,
    vxlan: Option<Outbox>,
}

pub(super) struct Worker {
    pub switch: Switch,
    wireguard: Option<WireGuard>,
    config: NodeConfig,
    routed_nodes: HashSet<Ipv4Addr>,
    routing: Routing,
    address: Ipv4Addr,
    peers: Vec<Peer>,
    devices: Devices,
    balancer: Option<SocketBalancer>,
    outboxes: Outboxes,
    port: Arc<Port>,
    uplink: Uplink,
    pods: HashMap<u64, Pod>,
    pod_tokens: HashMap<Ipv4Addr, u64>,
    next_token: u64,
    delayed: DelayQueue<(Target, Packet)>,
    reactor: Reactor,
    commands: Receiver<Command>,
    pool: PacketPool,
    batch: Batch,
    deliveries: Vec<Delivery>,
    outcome: Outcome,
    notices: Vec<Notice>,
    next_tick: Instant,
    faults_in_force: Vec<FaultId>,
    overruns: u64,
}

impl Worker {
    #[allow(
        clippy::too_many_arguments,
        reason = "called once, with everything a node consists of"
    )]
    pub(super) fn new(
        config: &NodeConfig,
        switch: Switch,
        secret: &SecretKey,
        fabric: Fabric,
        port: Arc<Port>,
        devices: Devices,
        balancer: Option<SocketBalancer>,
        reactor: Reactor,
        commands: Receiver<Command>,
    ) -> io::Result<Self> {
        let mut pool = PacketPool::new(usize::from(fabric.config().mtu) + 256, 4096);
        let batch = Batch::new(&mut pool);
        reactor.add(&port.socket, FABRIC)?;
        reactor.add(&devices.host, HOST)?;
        reactor.add(&devices.wire, WIRE)?;
        reactor.add(&devices.second, SECOND)?;
        if let Some(second) = &port.second {
            reactor.add(second, SECOND_FABRIC)?;
        }
        if let Some(socket) = &devices.wireguard {
            reactor.add(socket, WIREGUARD)?;
        }
        if let Some(socket) = &devices.vxlan {
            reactor.add(socket, VXLAN)?;
        }
        let outboxes = Outboxes {
            host: devices.host.outbox(),
            wire: devices.wire.outbox(),
            second: devices.second.outbox(),
            wireguard: devices.wireguard.as_ref().map(|socket| socket.outbox()),
            vxlan: devices.vxlan.as_ref().map(|socket| socket.outbox()),
        };
        Ok(Self {
            switch,
            wireguard: match config.encryption {
                Encryption::WireGuard { .. } => Some(WireGuard::new(secret)),
                Encryption::None => None,
            },
            config: config.clone(),
            routed_nodes: HashSet::new(),
            routing: config.routing,
            address: config.address,
            peers: Vec::new(),
            uplink: Uplink::new(fabric, port.clone()),
            port,
            devices,
            balancer,
            outboxes,
            pods: HashMap::new(),
            pod_tokens: HashMap::new(),
            next_token: FIRST_POD,
            delayed: DelayQueue::default(),
            reactor,
            commands,
            pool,
            batch,
            deliveries: Vec::new(),
            outcome: Outcome::default(),
            notices: Vec::new(),
            next_tick: Instant::now() + TICK,
            faults_in_force: Vec::new(),
            overruns: 0,
        })
    }

    /// Carries packets until stopped.
    pub(super) fn run(&mut self) {
        self.apply_faults();
        loop {
            let deadline = [self.delayed.next(), self.uplink.next_arrival(), Some(self.next_tick)];
            let ready = match self.reactor.wait(deadline.into_iter().flatten().min()) {
                Ok(ready) => ready,
                Err(error) => return tracing::error!(%error, node = %self.port.name, "the node's thread cannot wait"),
            };
            self.refresh();
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::Do(work) => work(self),
                    Command::Stop => return,
                }
            }
            for token in ready {
                // A fault acts on every packet that was sent after its injection.
                self.refresh();
                if let Err(error) = self.carry(token) {
                    // A pod's device that goes away says so once, before its removal is asked for.
                    tracing::debug!(%error, token, node = %self.port.name, "a socket failed");
                }
                self.flush();
            }
            self.run_timers();
            self.flush();
        }
    }

    fn refresh(&mut self) {
        if self.uplink.refresh() {
            self.apply_faults();
        }
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        while let Some((target, packet)) = self.delayed.pop_due(now) {
            self.send(target, packet);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            if let Some(wireguard) = &mut self.wireguard {
                wireguard.tick(&mut self.pool, &mut self.outcome);
            }
            self.post_datagrams();
        }
    }

    pub(super) fn has_pod(&self, address: Ipv4Addr) -> bool {
        self.pod_tokens.contains_key(&address)
    }

    pub(super) fn add_pod(&mut self, config: &PodConfig, pod: Attached) -> io::Result<()> {
        let token = self.next_token;
        self.next_token += 1;
        self.reactor.add(&pod.socket, token)?;
        let outbox = pod.socket.outbox();
        self.pods.insert(
            token,
            Pod {
                address: config.address,
                mac: pod.mac,
                socket: pod.socket,
                outbox,
            },
        );
        self.pod_tokens.insert(config.address, token);
        self.switch.add_pod(config);
        Ok(())
    }

    /// Whether there was one.
    pub(super) fn remove_pod(&mut self, address: Ipv4Addr) -> bool {
        let Some(pod) = self
            .pod_tokens
            .remove(&address)
            .and_then(|token| self.pods.remove(&token))
        else {
            return false;
        };
        if let Err(error) = self.reactor.remove(&pod.socket) {
            tracing::debug!(%error, %address, "a pod's socket was not watched");
        }
        self.switch.remove_pod(address);
        true
    }

    pub(super) fn set_services(&mut self, services: Vec<Service>) {
        self.switch.set_services(services);
        self.tell_sockets();
    }

    /// Tells the processes' sockets what the switch knows of the services.
    fn tell_sockets(&mut self) {
        if let Some(balancer) = &self.balancer {
            balancer.set_unserved(self.switch.unserved());
            balancer.end(self.switch.take_orphans());
        }
    }

    pub(super) fn set_peers(&mut self, peers: Vec<Peer>) {
        self.peers.clone_from(&peers);
        self.switch.set_peers(peers);
        self.route_nodes();
        self.apply_faults();
    }

    fn route_nodes(&mut self) {
        if !self.config.node_encryption {
            return;
        }
        let addresses = self.peers.iter().map(|peer| peer.address);
        let new: Vec<_> = addresses.filter(|address| self.routed_nodes.insert(*address)).collect();
        let mtu = self.uplink.fabric().config().mtu;
        if let Err(error) = devices::route_nodes(&self.config, mtu, &new) {
            tracing::error!(%error, node = %self.port.name, "traffic between nodes is not encrypted");
        }
    }

    pub(super) fn counters(&mut self) -> Counters {
        let sockets = [&self.port.socket, &self.devices.host, &self.devices.wire];
        let sockets = sockets.into_iter().chain(self.pods.values().map(|pod| &pod.socket));
        self.overruns += sockets.map(PacketSocket::take_drops).sum::<u64>();
        Counters {
            overruns: self.overruns,
            ..self.switch.counters()
        }
    }

    pub(super) fn peer_status(&self) -> Vec<PeerStatus> {
        let mut peers = self.wireguard.as_ref().map(WireGuard::status).unwrap_or_default();
        for (_, fault) in self.uplink.table().faults.iter() {
            let Fault::StaleHandshake { node, peer, age } = fault else {
                continue;
            };
            if !node.contains(&self.port.name) {
                continue;
            }
            let at_least = SystemTime::now().checked_sub(*age);
            for shown in peers.iter_mut().filter(|shown| shown.node == *peer) {
                shown.last_handshake = shown.last_handshake.and_then(|real| Some(real.min(at_least?)));
            }
        }
        peers
    }

    fn learn(&mut self) {
        for Notice::Mtu { to, mtu } in std::mem::take(&mut self.notices) {
            let overhead = usize::from(self.port_overhead());
            let peer = self.peers.iter().position(|peer| peer.address == to);
            if let Some(peer) = peer {
                self.switch
                    .learn_mtu(PeerIndex(peer), usize::from(mtu).saturating_sub(overhead).max(68));
            }
        }
    }

    fn port_overhead(&self) -> u16 {
        let tunnel = match self.routing {
            Routing::Vxlan { .. } => Routing::VXLAN_OVERHEAD,
            Routing::Native => 0,
        };
        tunnel + self.wireguard.as_ref().map_or(0, |_| Encryption::WIREGUARD_OVERHEAD)
    }

    fn flush(&mut self) {
        let pool = &mut self.pool;
        let fixed = [
            &mut self.outboxes.host,
            &mut self.outboxes.wire,
            &mut self.outboxes.second,
        ]
        .map(Some);
        let tunnels = [self.outboxes.wireguard.as_mut(), self.outboxes.vxlan.as_mut()];
        let pods = self.pods.values_mut().map(|pod| &mut pod.outbox);
        let waiting = fixed
            .into_iter()
            .chain(tunnels)
            .flatten()
            .chain(pods)
            .filter(|outbox| !outbox.is_empty());
        self.overruns += waiting.map(|outbox| outbox.flush(pool)).sum::<u64>();
        self.overruns += self.uplink.flush(Instant::now(), pool);
    }
}
