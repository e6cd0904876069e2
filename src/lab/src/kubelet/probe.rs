//! Readiness, liveness and startup probes, sent from the node's network as a kubelet sends them.

use super::{Kubelet, container_states::ContainerStates};
use crate::event::{EventType, record};
use meshproof_apiserver::Object;
use serde_json::Value;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

/// Until a container has been ready for the first time it is asked more often than its period says: a lab is in a
/// hurry.
const FIRST: Duration = Duration::from_millis(100);

/// What a probe decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Readiness,
    Liveness,
    Startup,
}

impl Purpose {
    fn field(self) -> &'static str {
        match self {
            Self::Readiness => "readinessProbe",
            Self::Liveness => "livenessProbe",
            Self::Startup => "startupProbe",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
            Self::Startup => "Startup",
        }
    }
}

/// Everything that the probes of one container need.
pub(super) struct Probes {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) pod: Object,
    pub(super) container: Value,
    pub(super) address: Ipv4Addr,
    pub(super) states: Arc<ContainerStates>,
    /// Notified when the container must be restarted.
    pub(super) unhealthy: Arc<Notify>,
}

impl Probes {
    /// Probes the running container until dropped.
    pub(super) async fn run(self) {
        let name = self.container["name"].as_str().unwrap_or_default();
        if self.container[Purpose::Startup.field()].is_null() {
            self.states.change(name, |state| state.started = true);
        } else {
            self.repeat(Purpose::Startup).await;
        }
        if self.container[Purpose::Readiness.field()].is_null() {
            self.states.change(name, |state| state.ready = true);
        }
        tokio::join!(self.repeat(Purpose::Readiness), self.repeat(Purpose::Liveness));
    }

    /// One probe for as long as the container runs; the startup probe ends with its first success.
    async fn repeat(&self, purpose: Purpose) {
        let probe = &self.container[purpose.field()];
        if probe.is_null() {
            return;
        }
        let name = self.container["name"].as_str().unwrap_or_default();
        let seconds = |field: &str, default: u64| Duration::from_secs(probe[field].as_u64().unwrap_or(default));
        let period = seconds("periodSeconds", 10).max(Duration::from_secs(1));
        let timeout = seconds("timeoutSeconds", 1).max(Duration::from_secs(1));
        let threshold = |field: &str, default: u64| probe[field].as_u64().unwrap_or(default).max(1);
        tokio::time::sleep(seconds("initialDelaySeconds", 0)).await;
        let (mut successes, mut failures, mut ever) = (0_u64, 0_u64, false);
        loop {
            let result = tokio::time::timeout(timeout, self.try_once(probe)).await;
            let result = result.unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs())));
            match result {
                Ok(()) => {
                    (successes, failures, ever) = (successes + 1, 0, true);
                    if successes >= threshold("successThreshold", 1) {
                        match purpose {
                            Purpose::Readiness => self.states.change(name, |state| state.ready = true),
                            Purpose::Startup => {
                                self.states.change(name, |state| state.started = true);
                                return;
                            }
                            Purpose::Liveness => {}
                        }
                    }
                }
                Err(why) => {
                    (successes, failures) = (0, failures + 1);
                    if ever || purpose != Purpose::Readiness {
                        let message = format!("{} probe failed: {why}", purpose.noun());
                        record(
                            &self.kubelet.store,
                            &self.pod,
                            EventType::Warning,
                            "Unhealthy",
                            &message,
                            "kubelet",
                        );
                    }
                    if failures >= threshold("failureThreshold", 3) {
                        match purpose {
                            Purpose::Readiness => self.states.change(name, |state| state.ready = false),
                            Purpose::Liveness | Purpose::Startup => self.unhealthy.notify_one(),
                        }
                    }
                }
            }
            let hurry = !ever && purpose == Purpose::Readiness;
            tokio::time::sleep(if hurry { FIRST } else { period }).await;
        }
    }

    async fn try_once(&self, probe: &Value) -> Result<(), String> {
        if !probe["exec"].is_null() {
            return Err("the lab's kubelets do not support exec probes".to_owned());
        }
        if !probe["grpc"].is_null() {
            return Err("the lab's kubelets do not support gRPC probes".to_owned());
        }
        let (kind, http) = if probe["httpGet"].is_null() {
            ("tcpSocket", false)
        } else {
            ("httpGet", true)
        };
        let target = &probe[kind];
        let host = match target["host"].as_str() {
            Some(host) => host.parse().map_err(|_| format!("host {host} is not an address"))?,
            None => IpAddr::V4(self.address),
        };
        let address = SocketAddr::new(host, self.port(&target["port"])?);
        let request = http.then(|| {
            let path = target["path"].as_str().unwrap_or("/");
            let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: kube-probe/1.36\r\n");
            for header in target["httpHeaders"].as_array().into_iter().flatten() {
                if let (Some(name), Some(value)) = (header["name"].as_str(), header["value"].as_str()) {
                    request.push_str(&format!("{name}: {value}\r\n"));
                }
            }
            request + "Accept: */*\r\nConnection: close\r\n\r\n"
        });
        if http && target["scheme"] == "HTTPS" {
            return Err("the lab's kubelets do not support HTTPS probes".to_owned());
        }
        let attempt = self.kubelet.host.spawn(attempt(address, request));
        attempt.await.map_err(|error| error.to_string())?
    }

    fn port(&self, port: &Value) -> Result<u16, String> {
        let ports = self.container["ports"].as_array().into_iter().flatten();
        let number = match port {
            Value::String(name) => ports
                .into_iter()
                .find(|p| p["name"] == name.as_str())
                .map(|p| &p["containerPort"]),
            number => Some(number),
        };
        let number = number
            .and_then(Value::as_u64)
            .and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| format!("port {port} is not one of the container's"))
    }
}

/// Connects, and for HTTP asks for a status; runs on the node's runtime, so the socket is the node's.
async fn attempt(address: SocketAddr, request: Option<String>) -> Result<(), String> {
    let mut stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("dial tcp {address}: {error}"))?;
    let Some(request) = request else { return Ok(()) };
    let get = |error: std::io::Error| format!("Get \"http://{address}\": {error}");
    stream.write_all(request.as_bytes()).await.map_err(get)?;
    let mut head = [0; 64];
    let mut filled = 0;
    while filled < 12 {
        match stream.read(&mut head[filled..]).await.map_err(get)? {
            0 => return Err(format!("Get \"http://{address}\": EOF")),
            more => filled += more,
        }
    }
    let code = std::str::from_utf8(&head[9..12])
        .ok()
        .and_then(|code| code.parse::<u16>().ok());
    match code {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err("malformed HTTP response".to_owned()),
    }
}
