//! One call to an API server, and what it means when it fails: which call, against which server, why, and what to do next.

use meshproof_contract::{ClusterName, EnvironmentError};
use std::{error::Error, fmt, io, sync::Arc, time::Duration};

/// How long one call may take, connecting included.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// What RBAC wants for exec and port-forward: a WebSocket is a GET, and Kubernetes 1.35 and later ask for create as well.
pub(crate) const STREAM_VERBS: &str = "get,create";

/// Where calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Role name of the cluster.
    pub cluster: ClusterName,
    /// kubeconfig context.
    pub context: String,
    /// The API server's address.
    pub server: String,
}

/// What was called, in the words of RBAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `list`, `create`.
    pub verb: &'static str,
    /// `pods`, `pods/exec`, `daemonsets.apps`.
    pub resource: String,
    /// None for cluster-wide calls.
    pub namespace: Option<String>,
    /// None for collections.
    pub name: Option<String>,
}

impl Operation {
    /// On a collection in all namespaces, or on a cluster-wide one.
    pub fn on(verb: &'static str, resource: impl Into<String>) -> Self {
        Self {
            verb,
            resource: resource.into(),
            namespace: None,
            name: None,
        }
    }
    /// In that namespace.
    pub fn within(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }
    /// On the object of that name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// Where it went.
    pub endpoint: Arc<Endpoint>,
    /// What was called.
    pub operation: Box<Operation>,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// 401.
    Unauthorized(String),
    /// 403, with the server's words.
    Forbidden(String),
    /// 404.
    NotFound(String),
    /// 409: it exists, or somebody changed it meanwhile.
    Conflict(String),
    /// The credentials could not be obtained (an exec plugin failed).
    Credentials(String),
    /// No answer from the server.
    Unreachable(Outage),
    /// Any other answer.
    Refused {
        /// HTTP status.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// Anything else.
    Other(String),
}

/// Why a server cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nobody listens on its port.
    Refused,
    /// No answer in time.
    Timeout,
    /// Its name does not resolve.
    Dns(String),
    /// TLS does not come about.
    Tls(String),
    /// Anything else below HTTP.
    Other(String),
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoint,
            operation,
            cause,
        } = self;
        let Endpoint {
            cluster,
            context,
            server,
        } = &**endpoint;
        match cause {
            Cause::Unauthorized(message) => write!(
                f,
                "{cluster}: {server} does not accept the credentials of context {context:?} (401 {message}): they are expired or wrong; renew them and try `kubectl --context {context} auth whoami`"
            ),
            Cause::Forbidden(message) => write!(
                f,
                "{cluster}: not allowed to {operation}: {message}; `meshproof rbac` prints the Role that grants it"
            ),
            Cause::Credentials(message) => write!(
                f,
                "{cluster}: failed to get credentials for context {context:?}: {message}; try `kubectl --context {context} auth whoami`"
            ),
            Cause::Unreachable(outage) => write!(f, "{cluster}: the API server {server} cannot be reached: {outage}"),
            Cause::NotFound(message) | Cause::Conflict(message) | Cause::Other(message) => {
                write!(f, "{cluster}: failed to {operation}: {message}")
            }
            Cause::Refused { code, message } => write!(f, "{cluster}: failed to {operation}: {message} ({code})"),
        }
    }
}

impl Error for ApiError {}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outage::Refused => {
                f.write_str("connection refused; is it running, and is the address of the context right?")
            }
            Outage::Timeout => {
                f.write_str("no answer in time; is there a route to it, and does no firewall or VPN stand between?")
            }
            Outage::Dns(why) => write!(
                f,
                "its name does not resolve ({why}); check the server address in the kubeconfig"
            ),
            Outage::Tls(why) => {
                write!(
                    f,
                    "TLS failed ({why}); check certificate-authority and server name in the kubeconfig"
                )
            }
            Outage::Other(why) => f.write_str(why),
        }
    }
}

impl ApiError {
    /// The server said 403.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.cause, Cause::Forbidden(_))
    }
    /// The server said 404.
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound(_))
    }
    /// The server said 409.
    pub fn is_conflict(&self) -> bool {
        matches!(self.cause, Cause::Conflict(_))
    }
    /// The cause without cluster and operation.
    pub fn reason(&self) -> String {
        match &self.cause {
            Cause::Unauthorized(m) => format!("401 {m}: the credentials are expired or wrong"),
            Cause::Forbidden(m) | Cause::NotFound(m) | Cause::Conflict(m) | Cause::Credentials(m) | Cause::Other(m) => {
                m.clone()
            }
            Cause::Unreachable(outage) => format!("the API server cannot be reached: {outage}"),
            Cause::Refused { code, message } => format!("{message} ({code})"),
        }
    }
}

impl From<ApiError> for EnvironmentError {
    fn from(error: ApiError) -> Self {
        let cluster = error.endpoint.cluster.clone();
        match &error.cause {
            Cause::Forbidden(reason) => EnvironmentError::Forbidden {
                cluster,
                verb: error.operation.verb.to_owned(),
                object: Operation {
                    verb: "",
                    ..(*error.operation).clone()
                }
                .to_string()
                .trim_start()
                .to_owned(),
                reason: reason.clone(),
            },
            _ => EnvironmentError::Api {
                cluster,
                operation: error.operation.to_string(),
                reason: error.reason(),
            },
        }
    }
}

impl Cause {
    /// What a client's error means.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let message = match status.message.as_str() {
                    "" => status.reason.clone(),
                    message => one_line(message),
                };
                Self::of_code(status.code, message)
            }
            kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(code)) => {
                Self::of_code(code.as_u16(), format!("the stream was refused with {code}"))
            }
            kube::Error::Auth(error) => Self::Credentials(chain(error)),
            other => match Outage::within(other) {
                Some(outage) => Self::Unreachable(outage),
                None => Self::Other(chain(other)),
            },
        }
    }

    fn of_code(code: u16, message: String) -> Self {
        match code {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            404 => Self::NotFound(message),
            409 => Self::Conflict(message),
            code => Self::Refused { code, message },
        }
    }

    /// Transport errors that are worth another try: they say nothing about what was asked.
    pub fn is_transient(&self) -> bool {
        match self {
            Cause::Refused { code, message } => matches!(code, 429 | 502 | 503 | 504) || is_transient_text(message),
            Cause::Unreachable(outage) => !matches!(outage, Outage::Dns(_)),
            Cause::Other(message) => is_transient_text(message),
            _ => false,
        }
    }
}

impl Cause {
    /// What passes by itself in a second or two, so that a call that may be made again is: a leader election of etcd, a webhook's pod
    /// that is being replaced, an API server that shuts down behind its balancer, a kept connection that was dropped.
    pub fn is_passing(&self) -> bool {
        match self {
            Cause::Refused { code: 500, message } => ["etcdserver", "timed out", "failed calling webhook"]
                .iter()
                .any(|word| message.contains(word)),
            Cause::Refused { code, .. } => matches!(code, 429 | 502 | 503 | 504),
            Cause::Unreachable(outage) => matches!(outage, Outage::Other(_)),
            _ => false,
        }
    }
}

/// Words of kubelets and API servers for streams that did not come about (cilium-cli and Kubernetes retry the same).
pub(crate) fn is_transient_text(message: &str) -> bool {
    [
        "i/o timeout",
        "error dialing backend",
        "unable to upgrade connection",
        "TLS handshake timeout",
        "connection reset",
        "broken pipe",
    ]
    .iter()
    .any(|word| message.contains(word))
}

impl Outage {
    /// The outage among an error's causes, if there is one.
    fn within(error: &(dyn Error + 'static)) -> Option<Self> {
        let all = chain(error);
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                match io.kind() {
                    io::ErrorKind::ConnectionRefused => return Some(Outage::Refused),
                    io::ErrorKind::TimedOut => return Some(Outage::Timeout),
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        return Some(Outage::Other(format!("{io}; is there a route to it?")));
                    }
                    _ => {}
                }
                // rustls wraps its errors in io::Error, where they are no source.
                if let Some(inner) = io.get_ref()
                    && is_tls_text(&inner.to_string())
                {
                    return Some(Outage::Tls(inner.to_string()));
                }
            }
            let text = cause.to_string();
            if text.contains("failed to lookup address") || text.starts_with("dns error") {
                return Some(Outage::Dns(last_cause(cause)));
            }
            if text.contains("deadline has elapsed") || text.contains("timed out") {
                return Some(Outage::Timeout);
            }
            if is_tls_text(&text) {
                return Some(Outage::Tls(one_line(&text)));
            }
            next = cause.source();
        }
        let below_http = [
            "client error (Connect)",
            "connection closed",
            "SendRequest",
            "connection error",
        ];
        below_http
            .iter()
            .any(|word| all.contains(word))
            .then_some(Outage::Other(all))
    }
}

fn is_tls_text(text: &str) -> bool {
    [
        "invalid peer certificate",
        "received fatal alert",
        "received corrupt message",
        "InvalidContentType",
    ]
    .iter()
    .any(|word| text.contains(word))
}

fn last_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    one_line(&last.to_string())
}

/// An error with its causes in one line, each told once.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = one_line(&error.to_string());
    let mut next = error.source();
    while let Some(cause) = next {
        let words = one_line(&cause.to_string());
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
