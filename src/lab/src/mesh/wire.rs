//! What goes over the connection between two clusters' clustermesh-apiserver pods: one JSON value a line. (Cilium
//! speaks etcd over TLS there; what matters here is that it is one TCP connection that carries puts, deletes and
//! heartbeats.)

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

/// How often the publishing side shows that it is there.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);

/// Longer lines end the connection: nothing legitimate comes near.
const LINE_LIMIT: usize = 1 << 20;

/// A message from the cluster that publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeshMessage {
    /// The first message: who publishes (`cilium/cluster-config/<name>`).
    Config {
        /// The cluster's name.
        cluster: String,
        /// Its id.
        id: u8,
    },
    /// A key has this value now.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Value,
    },
    /// A key has gone.
    Delete {
        /// The key.
        key: String,
    },
    /// Everything that was there at the beginning has been sent.
    Synced,
    /// Nothing new, but still there.
    Heartbeat,
}

/// Sends lines as one write.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), lines: &[MeshMessage]) -> std::io::Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    to.write_all(&text).await
}

/// The next line; none at the end of the connection.
pub async fn receive(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<MeshMessage>> {
    let mut text = Vec::new();
    let mut limited = tokio::io::AsyncReadExt::take(from, LINE_LIMIT as u64);
    let read = limited.read_until(b'\n', &mut text).await?;
    if read == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_survive_the_wire() {
        let lines = [
            MeshMessage::Config {
                cluster: "apps".into(),
                id: 2,
            },
            MeshMessage::Put {
                key: "a/b".into(),
                value: serde_json::json!({"text": "two\nlines"}),
            },
            MeshMessage::Delete { key: "a/b".into() },
            MeshMessage::Synced,
        ];
        let mut text = Vec::new();
        send(&mut text, &lines).await.unwrap();
        let mut reader = text.as_slice();
        for line in lines {
            assert_eq!(receive(&mut reader).await.unwrap(), Some(line));
        }
        assert_eq!(receive(&mut reader).await.unwrap(), None);
        assert!(
            receive(&mut &b"{\"no such\":1}\n"[..]).await.is_err(),
            "garbage is an error"
        );
    }
}
