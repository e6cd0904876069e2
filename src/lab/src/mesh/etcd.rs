//! Serves a cluster's published state to the KVStoreMesh of other clusters. It knows the keys' values only as JSON.

use super::{
    keyspace::{Keyspace, Snapshot},
    wire::{HEARTBEAT, MeshMessage, send},
};
use crate::fault::Fault;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// A peer that does not take what is sent for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What becomes of changes on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    /// They are sent at once.
    Prompt,
    /// They are sent so much later.
    Late(Duration),
    /// They are not sent until that changes; heartbeats are.
    Stopped,
}

/// Decides what becomes of changes now, and notifies when that changes.
pub(super) trait Gate: Send + Sync + 'static {
    /// What becomes of changes now.
    fn propagation(&self) -> Propagation;
    /// Notifies of changes of the answer.
    fn subscribe(&self) -> watch::Receiver<BTreeSet<Fault>>;
}

/// Serves until stopped.
pub(super) async fn serve(
    listener: TcpListener,
    config: MeshMessage,
    published: Keyspace,
    gate: Arc<impl Gate>,
    stop: CancellationToken,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, peer)) = accepted else { continue };
        tracing::debug!(%peer, "a KVStoreMesh connected");
        let (config, published, gate, stop) = (config.clone(), published.clone(), Arc::clone(&gate), stop.clone());
        tokio::spawn(async move {
            let ended = stop.run_until_cancelled(feed(stream, config, &published, &*gate)).await;
            tracing::debug!(%peer, ?ended, "a KVStoreMesh connection ended");
        });
    }
}

async fn feed(
    mut stream: TcpStream,
    config: MeshMessage,
    published: &Keyspace,
    gate: &impl Gate,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut changes = published.subscribe();
    let mut faults = gate.subscribe();
    // Until `apiserver` has written there is nothing, which must not be taken for everything: followers would drop what
    // they know and learn it again key by key (Cilium's followers wait for the keys below `cilium/synced`).
    let written = changes.wait_for(|published| !published.is_empty()).await;
    let mut sent = written.map_err(std::io::Error::other)?.clone();
    let mut lines = vec![config];
    lines.extend(difference(&Snapshot::new(), &sent));
    lines.push(MeshMessage::Synced);
    write(&mut stream, &lines).await?;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When the changes that wait are due.
    let mut due: Option<Instant> = None;
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                due = due.or_else(|| plan(gate));
            }
            _ = faults.changed() => due = plan(gate),
            () = reached(due) => {
                due = None;
                let now = changes.borrow_and_update().clone();
                let lines = difference(&sent, &now);
                sent = now;
                if !lines.is_empty() {
                    write(&mut stream, &lines).await?;
                }
            }
            _ = heartbeat.tick() => write(&mut stream, &[MeshMessage::Heartbeat]).await?,
        }
    }
}

fn plan(gate: &impl Gate) -> Option<Instant> {
    match gate.propagation() {
        Propagation::Prompt => Some(Instant::now()),
        Propagation::Late(late) => Some(Instant::now() + late),
        Propagation::Stopped => None,
    }
}

async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn write(stream: &mut TcpStream, lines: &[MeshMessage]) -> std::io::Result<()> {
    tokio::time::timeout(WRITE_TIMEOUT, send(stream, lines))
        .await
        .map_err(std::io::Error::from)?
}

/// What leads from one state to the other.
fn difference(from: &Snapshot, to: &Snapshot) -> Vec<MeshMessage> {
    let put = to.iter().filter(|(key, value)| from.get(*key) != Some(value));
    let put = put.map(|(key, value)| MeshMessage::Put {
        key: key.clone(),
        value: (**value).clone(),
    });
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    put.chain(gone.map(|key| MeshMessage::Delete { key: key.clone() }))
        .collect()
}
