//! What an agent serves: HTTP, TCP and UDP to everybody, control to its own pod. Strangers can send what they like.

pub(crate) mod control;
pub(crate) mod http;
pub(crate) mod tcp;
pub(crate) mod udp;

use crate::settings::Settings;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// Connections that one server holds at a time; further ones wait in the kernel's queue.
pub(crate) const CONNECTIONS: usize = 2048;
/// Streams of a failover check live through outages of minutes.
pub(crate) const IDLE: Duration = Duration::from_secs(600);
/// A connection that sends nothing at all is closed sooner.
pub(crate) const FIRST_WORD: Duration = Duration::from_secs(30);

/// What all servers of an agent share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// What the kubelet's readiness probe gets.
    pub(crate) ready: AtomicBool,
}

/// Listens with a queue long enough for a batch of thousands that all start at once.
pub(crate) fn listen(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(address, port))?;
    socket.listen(4096)
}

/// A listener that never gives up and never holds more than its share of connections.
pub(crate) struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener, connections: usize) -> Self {
        Self {
            listener,
            permits: Arc::new(Semaphore::new(connections)),
        }
    }

    /// The next connection, with the permit to hold it.
    pub(crate) async fn accept(&self) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        let permit = self.permits.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // Answers are small and waited for.
                    let _ = stream.set_nodelay(true);
                    return (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()), permit);
                }
                // Out of descriptors, or the client is gone already: neither ends the server, and neither may spin.
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}
