//! One call to an API server, and its error: which call, to which server, why it failed, and what to do next.

pub(crate) mod admission;
mod cause;
mod text;

pub(crate) use cause::is_transient_text;
pub use cause::{Cause, Outage};
pub(crate) use text::{chain, one_line};

use meshproof_contract::{ClusterName, EnvironmentError};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// How long one call may take, connecting included.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// The verb of looking up a kind, which is no verb of RBAC: everybody may.
pub(crate) const DISCOVER: &str = "discover";

/// What RBAC requires for exec and port-forward: a WebSocket is a GET, and Kubernetes 1.35 and later also require
/// create.
pub(crate) const STREAM_VERBS: &str = "get and create";

/// Where calls go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Role name of the cluster.
    pub cluster: ClusterName,
    /// kubeconfig context.
    pub context: String,
    /// The API server's address.
    pub server: String,
    /// Host and port of the proxy that leads to it, if one does.
    pub proxy: Option<String>,
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
            proxy,
        } = &**endpoint;
        match cause {
            Cause::Unauthorized(message) => write!(
                f,
                "{cluster}: {server} does not accept the credentials of context {context:?} (401 {message}): they are \
                 expired or wrong; renew them, then try `kubectl --context {context} auth whoami`"
            ),
            Cause::Forbidden(message) => write!(
                f,
                "{cluster}: not allowed to {operation}: {message}; `meshproof rbac` prints the ClusterRole that \
                 grants it"
            ),
            Cause::Credentials(message) => write!(
                f,
                "{cluster}: failed to get credentials for context {context:?}: {message}; try `kubectl --context \
                 {context} auth whoami`"
            ),
            Cause::Unreachable(outage) => match proxy {
                None => write!(f, "{cluster}: cannot reach the API server {server}: {outage}"),
                Some(proxy) => write!(
                    f,
                    "{cluster}: cannot reach the API server {server} through the proxy {proxy}: {}; check that proxy, \
                     or name the server in NO_PROXY",
                    outage.of_proxy()
                ),
            },
            Cause::NotFound(message) | Cause::Conflict(message) | Cause::Other(message) => {
                write!(f, "{cluster}: failed to {operation}: {message}")
            }
            Cause::Refused { code, message } => write!(f, "{cluster}: failed to {operation}: {message} ({code})"),
        }
    }
}

impl Error for ApiError {}

impl ApiError {
    /// The server answered 403.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.cause, Cause::Forbidden(_))
    }
    /// The server answered 404.
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound(_))
    }
    /// The server answered 409.
    pub fn is_conflict(&self) -> bool {
        matches!(self.cause, Cause::Conflict(_))
    }
    /// Nothing (an empty list, none) where the call is forbidden; any other failure stays one.
    pub(crate) fn none_if_forbidden<T: Default>(self) -> Result<T, Self> {
        if self.is_forbidden() {
            Ok(T::default())
        } else {
            Err(self)
        }
    }
    /// The cause without cluster and operation.
    pub fn reason(&self) -> String {
        match &self.cause {
            Cause::Unauthorized(m) => format!("401 {m}: the credentials are expired or wrong"),
            Cause::Forbidden(m) | Cause::NotFound(m) | Cause::Conflict(m) | Cause::Credentials(m) | Cause::Other(m) => {
                m.clone()
            }
            Cause::Unreachable(outage) => match &self.endpoint.proxy {
                None => format!("cannot reach the API server: {outage}"),
                Some(proxy) => format!(
                    "cannot reach the API server through the proxy {proxy}: {}",
                    outage.of_proxy()
                ),
            },
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
            Cause::NotFound(_) if error.operation.verb == DISCOVER => EnvironmentError::NoSuchKind {
                cluster,
                kind: error.operation.resource.clone(),
            },
            _ => EnvironmentError::Api {
                cluster,
                operation: error.operation.to_string(),
                reason: error.reason(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_refusal_is_told_as_the_proxys() {
        let text = |proxy: Option<&str>| {
            let error = ApiError {
                endpoint: Arc::new(Endpoint {
                    cluster: "infra".into(),
                    context: "infra".into(),
                    server: "https://api.example:6443".into(),
                    proxy: proxy.map(str::to_owned),
                }),
                operation: Box::new(Operation::on("list", "pods")),
                cause: Cause::Unreachable(Outage::Refused),
            };
            (error.to_string(), error.reason())
        };
        let (direct, _) = text(None);
        assert!(
            direct.contains("api.example:6443: connection refused; check that it is running"),
            "{direct}"
        );
        let (through, reason) = text(Some("proxy.example:3128"));
        assert!(
            through
                .contains("through the proxy proxy.example:3128: the proxy refuses the connection; check that proxy"),
            "{through}"
        );
        assert!(
            !through.contains("is running") && reason.contains("proxy.example:3128"),
            "{reason}"
        );
    }
}
