//! KVStoreMesh's side of the mesh: follows one other cluster's etcd over TCP and keeps a copy.
//!
//! It notices as late as the real one: with the other cluster away the status stays connected until nothing has been
//! heard for two minutes, and it takes some ten seconds to recover after that
//! (`lastHeartbeat` in `pkg/clustermesh/common`; recorded: noticed at 124 s, recovered within 13 s).

use super::{
    keyspace::{Keyspace, Snapshot},
    wire::{MeshMessage, receive},
};
use std::{
    io,
    net::SocketAddrV4,
    time::{Duration, SystemTime},
};
use tokio::{
    io::BufReader,
    net::{TcpSocket, TcpStream},
    sync::watch,
    time::{Instant, timeout},
};

/// The deadlines of a link.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// After so long without a heartbeat the other cluster counts as away.
    pub notice: Duration,
    /// After so long without a heartbeat another connection is tried, without a word about it. (With etcd it is the
    /// kernel that retransmits; a new connection comes back sooner after a long interruption.)
    pub silence: Duration,
    /// A connection must be established within this time.
    pub connect: Duration,
    /// The pause between attempts while the interruption is not noticed.
    pub retry: Duration,
    /// The pause between attempts afterwards.
    pub retry_noticed: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            notice: Duration::from_secs(120),
            silence: Duration::from_secs(2),
            connect: Duration::from_secs(1),
            retry: Duration::from_millis(50),
            retry_noticed: Duration::from_secs(8),
        }
    }
}

/// Whether the other cluster is followed, as KVStoreMesh sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkPhase {
    /// "Waiting for initial connection to be established".
    #[default]
    Waiting,
    /// Connected and synchronised.
    Connected {
        /// The other cluster's id, from its configuration.
        cluster_id: u8,
    },
}

/// The state of a link, as a status shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// Connected or not.
    pub phase: LinkPhase,
    /// How often the connection was found broken.
    pub failures: u64,
    /// When it was found broken last.
    pub last_failure: Option<SystemTime>,
}

impl LinkStatus {
    fn lose(&mut self) {
        self.phase = LinkPhase::Waiting;
        self.failures += 1;
        self.last_failure = Some(SystemTime::now());
    }
}

/// What a link needs of its surroundings.
pub(super) trait Route: Send + Sync {
    /// Where the other cluster's etcd is now.
    fn address(&self) -> Option<SocketAddrV4>;
    /// A socket in the pod's network namespace.
    fn socket(&self) -> io::Result<TcpSocket>;
    /// Returns once a fault keeps the link down.
    fn blocked(&self) -> impl Future<Output = ()> + Send;
    /// Returns once no fault keeps the link down.
    fn unblocked(&self) -> impl Future<Output = ()> + Send;
}

/// A link to one other cluster.
pub(super) struct Link<R> {
    pub(super) route: R,
    pub(super) cache: Keyspace,
    pub(super) status: watch::Sender<LinkStatus>,
    pub(super) timing: Timing,
    heard: watch::Sender<Option<Instant>>,
}

impl<R: Route> Link<R> {
    pub(super) fn new(route: R, cache: Keyspace, status: watch::Sender<LinkStatus>, timing: Timing) -> Self {
        Self {
            route,
            cache,
            status,
            timing,
            heard: watch::Sender::new(None),
        }
    }

    /// Follows for ever.
    pub(super) async fn run(&self) {
        tokio::join!(self.transport(), self.watch_heartbeat());
    }

    async fn transport(&self) {
        loop {
            let ended = tokio::select! {
                biased;
                () = self.route.blocked() => {
                    self.give_up();
                    self.route.unblocked().await;
                    continue;
                }
                ended = self.connection() => ended,
            };
            tracing::debug!(?ended, "the connection to another cluster's etcd ended");
            let noticed = self.status.borrow().phase == LinkPhase::Waiting && self.heard.borrow().is_some();
            let pause = if noticed {
                self.timing.retry_noticed
            } else {
                self.timing.retry
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.route.blocked() => {}
            }
        }
    }

    async fn connection(&self) -> io::Result<()> {
        let address = self.route.address().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let stream = timeout(self.timing.connect, self.route.socket()?.connect(address.into())).await??;
        self.follow(stream).await
    }

    async fn follow(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut id = 0;
        let mut first = Some(Snapshot::new());
        loop {
            let line = timeout(self.timing.silence, receive(&mut reader)).await??;
            self.heard.send_replace(Some(Instant::now()));
            match (line, &mut first) {
                (None, _) => return Ok(()),
                (Some(MeshMessage::Config { id: theirs, .. }), _) => id = theirs,
                (Some(MeshMessage::Put { key, value }), Some(first)) => {
                    first.insert(key, value.into());
                }
                (Some(MeshMessage::Put { key, value }), None) => self.cache.put(key, value),
                (Some(MeshMessage::Delete { key }), _) => self.cache.delete(&key),
                (Some(MeshMessage::Synced), _) => {
                    if let Some(first) = first.take() {
                        self.cache.replace(first);
                    }
                    let phase = LinkPhase::Connected { cluster_id: id };
                    self.status
                        .send_if_modified(|status| std::mem::replace(&mut status.phase, phase) != phase);
                }
                (Some(MeshMessage::Heartbeat), _) => {}
            }
        }
    }

    /// Notices that nothing has been heard for too long.
    async fn watch_heartbeat(&self) {
        let mut heard = self.heard.subscribe();
        loop {
            let Some(last) = *heard.borrow_and_update() else {
                let _ = heard.changed().await;
                continue;
            };
            let deadline = last + self.timing.notice;
            tokio::time::sleep_until(deadline).await;
            if *self.heard.borrow() == Some(last) {
                self.give_up();
                let _ = heard.changed().await;
            }
        }
    }

    fn give_up(&self) {
        self.status.send_if_modified(|status| {
            let connected = status.phase != LinkPhase::Waiting;
            if connected {
                status.lose();
            }
            connected
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::etcd::{Gate, Propagation, serve},
        *,
    };
    use crate::fault::Fault;
    use serde_json::json;
    use std::{collections::BTreeSet, sync::Arc};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    struct Open;

    impl Gate for Open {
        fn propagation(&self) -> Propagation {
            Propagation::Prompt
        }
        fn subscribe(&self) -> watch::Receiver<BTreeSet<Fault>> {
            watch::channel(BTreeSet::new()).1
        }
    }

    struct Straight {
        address: SocketAddrV4,
        blocked: watch::Receiver<bool>,
    }

    impl Route for Straight {
        fn address(&self) -> Option<SocketAddrV4> {
            Some(self.address)
        }
        fn socket(&self) -> io::Result<TcpSocket> {
            TcpSocket::new_v4()
        }
        async fn blocked(&self) {
            let _ = self.blocked.clone().wait_for(|blocked| *blocked).await;
        }
        async fn unblocked(&self) {
            let _ = self.blocked.clone().wait_for(|blocked| !*blocked).await;
        }
    }

    const TIMEOUT: Duration = Duration::from_secs(10);

    async fn serve_at(address: &str, published: &Keyspace, stop: &CancellationToken) -> SocketAddrV4 {
        let listener = TcpListener::bind(address).await.unwrap();
        let std::net::SocketAddr::V4(bound) = listener.local_addr().unwrap() else {
            panic!("IPv4 was asked for")
        };
        let config = MeshMessage::Config {
            cluster: "apps".into(),
            id: 2,
        };
        tokio::spawn(serve(listener, config, published.clone(), Arc::new(Open), stop.clone()));
        bound
    }

    #[tokio::test]
    async fn it_follows_keeps_its_copy_when_cut_off_and_notices_late() {
        let published = Keyspace::default();
        published.put("a".into(), json!(1));
        let stop = CancellationToken::new();
        let address = serve_at("127.0.0.1:0", &published, &stop).await;
        let cache = Keyspace::default();
        let status = watch::Sender::new(LinkStatus::default());
        let blocked = watch::Sender::new(false);
        let route = Straight {
            address,
            blocked: blocked.subscribe(),
        };
        let notice = Duration::from_millis(1500);
        let timing = Timing {
            notice,
            retry_noticed: Duration::from_millis(100),
            ..Timing::default()
        };
        let (mut phases, mut copies) = (status.subscribe(), cache.subscribe());
        let link = Link::new(route, cache.clone(), status, timing);
        let link = tokio::spawn(async move { link.run().await });

        let connected = LinkPhase::Connected { cluster_id: 2 };
        timeout(TIMEOUT, phases.wait_for(|status| status.phase == connected))
            .await
            .unwrap()
            .unwrap();
        assert!(cache.snapshot().contains_key("a"), "what was there before is copied");
        published.put("b".into(), json!(2));
        timeout(TIMEOUT, copies.wait_for(|copy| copy.contains_key("b")))
            .await
            .unwrap()
            .unwrap();

        stop.cancel();
        let cut = Instant::now();
        let lost = timeout(TIMEOUT, phases.wait_for(|status| status.phase == LinkPhase::Waiting));
        assert_eq!(lost.await.unwrap().unwrap().failures, 1);
        assert!(
            cut.elapsed() > notice / 2,
            "noticed after {:?}: too early",
            cut.elapsed()
        );
        assert_eq!(cache.snapshot().len(), 2, "the copy stays");

        published.delete("a");
        let again = CancellationToken::new();
        serve_at(&address.to_string(), &published, &again).await;
        timeout(TIMEOUT, phases.wait_for(|status| status.phase == connected))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            cache.snapshot().keys().collect::<Vec<_>>(),
            ["b"],
            "what was missed is caught up on"
        );

        blocked.send_replace(true);
        timeout(TIMEOUT, phases.wait_for(|status| status.failures == 2))
            .await
            .unwrap()
            .unwrap();
        link.abort();
    }

    #[tokio::test]
    async fn an_etcd_that_is_not_written_yet_is_not_taken_for_an_empty_one() {
        let published = Keyspace::default();
        let address = serve_at("127.0.0.1:0", &published, &CancellationToken::new()).await;
        let cache = Keyspace::default();
        let status = watch::Sender::new(LinkStatus::default());
        let mut phases = status.subscribe();
        let blocked = watch::Sender::new(false);
        let route = Straight {
            address,
            blocked: blocked.subscribe(),
        };
        let link = Link::new(route, cache.clone(), status, Timing::default());
        let link = tokio::spawn(async move { link.run().await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let value = |value: u8| Arc::new(json!(value));
        published.replace(Snapshot::from([("a".into(), value(1)), ("b".into(), value(2))]));
        let connected = LinkPhase::Connected { cluster_id: 2 };
        timeout(TIMEOUT, phases.wait_for(|status| status.phase == connected))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(cache.snapshot().len(), 2, "everything is there once it is connected");
        link.abort();
    }
}
