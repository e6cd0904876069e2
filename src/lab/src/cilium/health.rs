//! Cilium's health daemon: real probes from the node's network namespace to every node's own address and health
//! endpoint, on its own slow schedule. So what it says is old: judge by `lastProbed`.

use super::view::{HealthReport, NodeHealth, NodeView, PathHealth};
use crate::sync::{read, write};
use meshproof_datapath::netns::Namespace;
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, RwLock},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::{Instant, timeout},
};

/// Where nodes and health endpoints answer (`cluster-health-port`).
pub(crate) const PORT: u16 = 4240;
/// How long a probe may take (`pkg/health/server/prober.go`).
const DEADLINE: Duration = Duration::from_secs(10);
/// The base of the probe interval (`pkg/health/defaults`: 60 s, stretched with the cluster's size).
const BASE: Duration = Duration::from_secs(60);
/// At the start failed probes are repeated for so long, as long as the other nodes come up.
const START: Duration = Duration::from_secs(15);
const START_RETRY: Duration = Duration::from_millis(300);

/// The newest findings of one node. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Findings(Arc<RwLock<HealthReport>>);

impl Findings {
    pub(super) fn report(&self) -> HealthReport {
        read(&self.0).clone()
    }

    fn change(&self, change: impl FnOnce(&mut HealthReport)) {
        change(&mut write(&self.0));
    }
}

/// The time between two rounds: `60s * ln(1 + n)` for n probed addresses. Recorded for four nodes: 2m11.8s.
pub(super) fn interval(nodes: usize) -> Duration {
    BASE.mul_f64(((nodes * 2) as f64).ln_1p())
}

/// Which of a node's addresses.
#[derive(Clone, Copy)]
enum Target {
    Host,
    Endpoint,
}

/// Probes for ever.
pub(super) async fn run(namespace: Namespace, nodes: Vec<NodeView>, findings: Findings) {
    let interval = interval(nodes.len());
    findings.change(|report| {
        report.interval = interval;
        report.timestamp = Some(SystemTime::now());
        report.nodes = nodes.iter().map(unprobed).collect();
    });
    let targets: Vec<_> = (0..nodes.len())
        .flat_map(|index| [(index, Target::Host), (index, Target::Endpoint)])
        .collect();
    let first = targets.iter().map(|(index, target)| async {
        let until = Instant::now() + START;
        while !probe_one(&namespace, &findings, *index, *target).await && Instant::now() < until {
            tokio::time::sleep(START_RETRY).await;
        }
    });
    futures::future::join_all(first).await;
    let pause = interval / u32::try_from(targets.len().max(1)).unwrap_or(1);
    loop {
        findings.change(|report| report.timestamp = Some(SystemTime::now()));
        for (index, target) in &targets {
            tokio::time::sleep(pause).await;
            probe_one(&namespace, &findings, *index, *target).await;
        }
    }
}

fn unprobed(node: &NodeView) -> NodeHealth {
    let path = |address| PathHealth {
        address,
        probed: None,
        icmp: Ok(Duration::ZERO),
        http: Ok(Duration::ZERO),
    };
    NodeHealth {
        name: node.full_name(),
        host: path(node.address),
        endpoint: path(node.health),
    }
}

/// Probes one address and writes down what was found; true if it was reached.
async fn probe_one(namespace: &Namespace, findings: &Findings, index: usize, target: Target) -> bool {
    let address = match (findings.report().nodes.get(index), target) {
        (Some(node), Target::Host) => node.host.address,
        (Some(node), Target::Endpoint) => node.endpoint.address,
        (None, _) => return true,
    };
    let probed = SystemTime::now();
    let found = probe(namespace, address).await;
    let (icmp, http) = match found {
        Ok((connected, answered)) => (Ok(connected), Ok(answered)),
        Err(_) => {
            let http = format!(
                "Get \"http://{address}:{PORT}/hello\": context deadline exceeded (Client.Timeout exceeded while \
                 awaiting headers)"
            );
            (Err("Connection timed out".to_owned()), Err(http))
        }
    };
    let path = PathHealth {
        address,
        probed: Some(probed),
        icmp,
        http,
    };
    let reached = path.is_reachable();
    findings.change(|report| {
        if let Some(node) = report.nodes.get_mut(index) {
            match target {
                Target::Host => node.host = path,
                Target::Endpoint => node.endpoint = path,
            }
        }
    });
    reached
}

/// Time to connect and time of the whole request. (The real daemon sends an ICMP echo besides the HTTP request; here
/// the time of the TCP handshake stands for it.)
async fn probe(namespace: &Namespace, address: Ipv4Addr) -> io::Result<(Duration, Duration)> {
    let socket = namespace.within(TcpSocket::new_v4).map_err(io::Error::other)??;
    let begun = Instant::now();
    let exchange = async {
        let mut stream = socket.connect(SocketAddrV4::new(address, PORT).into()).await?;
        let connected = begun.elapsed();
        let request = format!("GET /hello HTTP/1.1\r\nHost: {address}:{PORT}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if answer.starts_with(b"HTTP/1.1 200") {
            Ok((connected, begun.elapsed()))
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    };
    timeout(DEADLINE, exchange).await.map_err(io::Error::from)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_recorded_one() {
        assert_eq!(
            super::super::time::duration(interval(4)).split('.').next(),
            Some("2m11")
        );
    }
}
