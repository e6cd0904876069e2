//! Socket load balancing as far as an application can tell it from the switch's: connect() or sendto() to a service
//! without backends fails at once, and a connected UDP socket ends with its backend (Cilium's `bpf/bpf_sock.c`,
//! semantics B1, B4).
//!
//! Cilium does it with BPF on the cgroup, which needs privileges. Here a seccomp filter hands connect() and sendto() of
//! a pod's processes to a thread of the node, which lets them go on or fail; the translation itself stays the switch's,
//! which keeps a flow with its backend. sendmsg() is not looked at. Where the kernel has no such filters, a service
//! without backends answers as it does without socket load balancing.

mod destroy;
mod notification;
mod seccomp;

use crate::{config::RefusedCall, netns::Namespace, service::Protocol, sync::lock};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use notification::Listener;
use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
};

/// Services of a node that nobody answers for, as its sockets meet them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unserved {
    /// Virtual addresses.
    pub addresses: HashSet<(Protocol, SocketAddrV4)>,
    /// NodePorts.
    pub node_ports: HashSet<(Protocol, u16)>,
    /// Where NodePorts are served.
    pub nodes: HashSet<Ipv4Addr>,
}

impl Unserved {
    fn has(&self, protocol: Protocol, to: SocketAddrV4) -> bool {
        let is_node_port = || self.nodes.contains(to.ip()) && self.node_ports.contains(&(protocol, to.port()));
        self.addresses.contains(&(protocol, to)) || is_node_port()
    }
}

/// A UDP flow whose backend has gone: a socket that is connected to `to` from `from` has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
}

/// The socket load balancing of one node. Cheap to clone.
#[derive(Clone)]
pub struct SocketBalancer(Arc<Inner>);

struct Inner {
    refusal: RefusedCall,
    unserved: Mutex<Unserved>,
    listeners: Mutex<HashMap<u64, Listener>>,
    epoll: Epoll,
    pods: Mutex<HashMap<Ipv4Addr, Namespace>>,
}

impl fmt::Debug for SocketBalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketBalancer").finish_non_exhaustive()
    }
}

impl SocketBalancer {
    /// Starts the thread that answers, which ends with the last clone.
    pub(crate) fn start(refusal: RefusedCall) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            refusal,
            unserved: Mutex::default(),
            listeners: Mutex::default(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            pods: Mutex::default(),
        });
        let weak = Arc::downgrade(&inner);
        std::thread::Builder::new().name("sockets".into()).spawn(move || {
            while let Some(inner) = weak.upgrade() {
                inner.answer();
            }
        })?;
        Ok(Self(inner))
    }

    /// As [`Namespace::spawn_tokio`], for a process whose sockets this node balances.
    ///
    /// # Errors
    /// As [`tokio::process::Command::spawn`].
    pub fn spawn_tokio(
        &self,
        namespace: &Namespace,
        mut command: tokio::process::Command,
    ) -> io::Result<tokio::process::Child> {
        let channel = seccomp::Channel::new()?;
        channel.prepare(command.as_std_mut());
        let child = namespace.spawn_tokio(command)?;
        match (channel.receive(), child.id()) {
            (Some(listener), Some(process)) => self.watch(listener, process)?,
            _ => tracing::warn!(
                "the kernel hands no system calls over, so a Service without backends refuses only what is sent to it"
            ),
        }
        Ok(child)
    }

    fn watch(&self, listener: OwnedFd, process: u32) -> io::Result<()> {
        let inner = &self.0;
        let mut listeners = lock(&inner.listeners);
        let token = u64::from(process);
        let listener = Listener::new(listener, process);
        inner
            .epoll
            .add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        listeners.insert(token, listener);
        Ok(())
    }

    /// Takes over the services that nobody answers for.
    pub(crate) fn set_unserved(&self, unserved: Unserved) {
        *lock(&self.0.unserved) = unserved;
    }

    /// Notes where the sockets of an address are.
    pub(crate) fn add_pod(&self, address: Ipv4Addr, namespace: Namespace) {
        lock(&self.0.pods).insert(address, namespace);
    }

    /// Forgets an address.
    pub(crate) fn remove_pod(&self, address: Ipv4Addr) {
        lock(&self.0.pods).remove(&address);
    }

    /// Ends the connected sockets of these flows, as Cilium does (`pkg/loadbalancer/reconciler/termination.go`).
    pub(crate) fn end(&self, orphans: Vec<Orphan>) {
        let mut by_pod: HashMap<Ipv4Addr, Vec<Orphan>> = HashMap::new();
        for orphan in orphans {
            by_pod.entry(*orphan.from.ip()).or_default().push(orphan);
        }
        let pods = lock(&self.0.pods);
        for (address, orphans) in by_pod {
            let Some(namespace) = pods.get(&address).cloned() else {
                continue;
            };
            std::thread::spawn(move || {
                let ended = namespace.within(|| orphans.iter().try_for_each(|orphan| destroy::udp(*orphan)));
                match ended {
                    Ok(Ok(())) => {}
                    // Then they keep sending to nobody, as with Cilium on such a kernel.
                    Ok(Err(error)) => tracing::debug!(%error, %address, "connected sockets are left as they are"),
                    Err(error) => tracing::debug!(%error, %address, "connected sockets are left as they are"),
                }
            });
        }
    }
}

impl Inner {
    /// Answers what has come within a second.
    fn answer(&self) {
        let mut events = [EpollEvent::empty(); 32];
        let Ok(count) = self.epoll.wait(&mut events, EpollTimeout::from(1000u16)) else {
            return;
        };
        for event in &events[..count] {
            let mut listeners = lock(&self.listeners);
            let Some(listener) = listeners.get(&event.data()) else {
                continue;
            };
            if !event.events().contains(EpollFlags::EPOLLIN) {
                // Its last process has ended.
                let _ = self.epoll.delete(listener);
                listeners.remove(&event.data());
                continue;
            }
            let judge = |protocol, to| lock(&self.unserved).has(protocol, to);
            if let Err(error) = listener.answer(self.refusal, judge) {
                tracing::debug!(%error, "a system call was not answered");
            }
        }
    }
}
