//! Why a call to an API server failed, read from the client's error. Knows neither the call nor the server.

use super::{admission, chain, one_line, text::last_cause};
use std::{error::Error, fmt, io};

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
    /// No answer before the deadline.
    Timeout,
    /// Its name does not resolve.
    Dns(String),
    /// The TLS handshake fails.
    Tls(String),
    /// Anything else below HTTP.
    Other(String),
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outage::Refused => {
                f.write_str("connection refused; check that it is running and that the context's address is right")
            }
            Outage::Timeout => f.write_str("no answer before the timeout; check the route to it, firewalls and VPNs"),
            Outage::Dns(why) => write!(
                f,
                "its host name does not resolve ({why}); check the server address in the kubeconfig"
            ),
            Outage::Tls(why) => {
                write!(
                    f,
                    "TLS failed ({why}); check certificate-authority and the server name in the kubeconfig"
                )
            }
            Outage::Other(why) => f.write_str(why),
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
                Self::of_code(code.as_u16(), format!("the server refused the stream with {code}"))
            }
            kube::Error::Auth(error) => Self::Credentials(chain(error)),
            other => match Outage::within(other) {
                Some(outage) => Self::Unreachable(outage),
                None => Self::Other(chain(other)),
            },
        }
    }

    fn of_code(code: u16, message: String) -> Self {
        // A right does not help against an admission controller.
        if let (403, Some(message)) = (code, admission::refusal(&message)) {
            return Self::Refused { code, message };
        }
        match code {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            404 => Self::NotFound(message),
            409 => Self::Conflict(message),
            code => Self::Refused { code, message },
        }
    }

    /// Transport errors that are worth another try of a stream: they say nothing about what was asked.
    pub fn is_transient(&self) -> bool {
        match self {
            Cause::Refused { code, message } => matches!(code, 429 | 502 | 503 | 504) || is_transient_text(message),
            Cause::Unreachable(outage) => !matches!(outage, Outage::Dns(_)),
            Cause::Other(message) => is_transient_text(message),
            _ => false,
        }
    }

    /// What passes by itself in a second or two, so that an idempotent call is worth repeating: a leader election of
    /// etcd, a webhook's pod that is being replaced, an API server that shuts down behind its load balancer, a
    /// connection that was closed.
    pub fn is_temporary(&self) -> bool {
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

/// Errors of kubelets and API servers for streams that could not be opened (cilium-cli and Kubernetes retry the same).
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
                        return Some(Outage::Other(format!("{io}; check the route to it")));
                    }
                    _ => {}
                }
                // rustls wraps its errors in io::Error, which does not give them as its source.
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
