//! Connections to agents: one stream for each pod, requests matched by id. Does not know what is asked.

mod connection;
mod link;
mod route;

pub(crate) use link::AgentLink;

use crate::ProgressSink;
use futures::{StreamExt, stream};
use meshproof_contract::EnvironmentError;
use meshproof_wire::Hello;
use std::sync::Arc;

/// How many streams are opened at once: each is a connection through API server and kubelet.
const CONNECT_BOUND: usize = 16;

/// Connects to all agents; each with its greeting, or the reason why it cannot be used.
pub(crate) async fn connect_all(
    links: Vec<Arc<AgentLink>>,
    progress: &ProgressSink,
) -> Vec<(Arc<AgentLink>, Result<Hello, EnvironmentError>)> {
    let total = links.len();
    let connecting = stream::iter(links).map(|link| async move {
        let hello = link.greet().await;
        (link, hello)
    });
    let mut connecting = connecting.buffer_unordered(CONNECT_BOUND);
    let mut done = Vec::with_capacity(total);
    progress.waiting(format!("connections to {total} agents"));
    while let Some(one) = connecting.next().await {
        let client = one.0.client();
        for reason in client.kubelets().unreported() {
            progress.warning(format!(
                "{}: {reason}; its agents are not used: check that the control plane reaches port 10250 of the node",
                client.name()
            ));
        }
        done.push(one);
        progress.waiting(format!("{} of {total} agents connected", done.len()));
    }
    done
}
