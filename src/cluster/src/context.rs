//! From role names and kubeconfig contexts to clients of clusters that answer. Every error is one line with its cause
//! and the next step.

pub(crate) mod kubeconfig;
mod proxy;

pub use kubeconfig::IN_CLUSTER;

use crate::{
    ProgressSink,
    api::{ApiError, Endpoint, chain},
    client::{ClusterClient, RequestCounter},
};
use futures::future::try_join_all;
use kube::client::ClientBuilder;
use meshproof_contract::{ApiRequests, ClusterName};
use std::{io, path::PathBuf, time::Duration};

/// How long connecting to an API server may take before it counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A role and the context that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The cluster's name in this run.
    pub cluster: ClusterName,
    /// A context of the kubeconfig, or [`IN_CLUSTER`] for the service account of the pod that meshproof runs in.
    pub context: String,
}

/// Clusters that answered, in the order of their roles.
#[derive(Clone)]
pub struct Contexts {
    clients: Vec<ClusterClient>,
}

/// Why the clusters of a run could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// No kubeconfig was found.
    #[error("found no kubeconfig at {}; set KUBECONFIG, or run `meshproof run --lab`", .0.join(", "))]
    NoKubeconfig(Vec<String>),
    /// A kubeconfig cannot be read.
    #[error("failed to read kubeconfig {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A kubeconfig is not YAML, or not a kubeconfig.
    #[error("{path}:{line}:{column}: not a kubeconfig: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// 1-based; 0 when unknown.
        line: u64,
        /// 1-based; 0 when unknown.
        column: u64,
        /// The parser's words.
        reason: String,
    },
    /// No such context.
    #[error(
        "cluster {cluster}: no context {context:?} in {}; known contexts: {}",
        .files.join(", "),
        if .present.is_empty() { "none".to_owned() } else { .present.join(", ") }
    )]
    NotFound {
        /// The role.
        cluster: ClusterName,
        /// The context asked for.
        context: String,
        /// Those that exist.
        present: Vec<String>,
        /// The files read.
        files: Vec<String>,
    },
    /// A context that cannot be used.
    #[error("cluster {cluster}: cannot use context {context:?}: {reason}")]
    Unusable {
        /// The role.
        cluster: ClusterName,
        /// The context.
        context: String,
        /// Why.
        reason: String,
    },
    /// Two roles of one name.
    #[error("cluster {0} is given twice: every role needs its own name")]
    DuplicateRole(ClusterName),
    /// No role at all.
    #[error("no cluster given: name a context for each with --context ROLE=CONTEXT, or use --lab")]
    NoRoles,
    /// Two roles are one cluster, so that nothing would really be tested across clusters.
    #[error("{first} and {second} are the same cluster ({evidence}): give each role its own cluster")]
    SameCluster {
        /// One role.
        first: ClusterName,
        /// The other.
        second: ClusterName,
        /// How it is known.
        evidence: String,
    },
    /// A server did not answer as it should.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl ContextError {
    /// Whether the user's configuration is wrong, rather than a cluster unreachable (exit code 2 rather than 3).
    pub fn is_configuration(&self) -> bool {
        !matches!(self, ContextError::Api(_))
    }
}

impl Contexts {
    /// Connects to the cluster of each role; `kubeconfig` overrides the files of `KUBECONFIG` and `~/.kube/config`.
    pub async fn connect(
        roles: &[Role],
        kubeconfig: Option<PathBuf>,
        progress: &ProgressSink,
    ) -> Result<Self, ContextError> {
        if roles.is_empty() {
            return Err(ContextError::NoRoles);
        }
        for (n, role) in roles.iter().enumerate() {
            if roles[..n].iter().any(|r| r.cluster == role.cluster) {
                return Err(ContextError::DuplicateRole(role.cluster.clone()));
            }
        }
        let files = kubeconfig::Files::read(kubeconfig)?;
        let mut clients = Vec::new();
        for role in roles {
            let mut config = files.config(role).await?;
            config.connect_timeout = Some(CONNECT_TIMEOUT);
            let endpoint = Endpoint {
                cluster: role.cluster.clone(),
                context: role.context.clone(),
                server: config.cluster_url.to_string().trim_end_matches('/').to_owned(),
                // Without a password, should the URL have one.
                proxy: config
                    .proxy_url
                    .as_ref()
                    .and_then(|url| url.authority())
                    .map(|authority| {
                        let name = authority.as_str();
                        name.rsplit_once('@').map_or(name, |(_, host)| host).to_owned()
                    }),
            };
            let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
            let requests = RequestCounter::default();
            let builder = ClientBuilder::try_from(config).map(|builder| builder.with_layer(&requests).build());
            let kube = builder.map_err(|e| ContextError::Unusable {
                cluster: role.cluster.clone(),
                context: role.context.clone(),
                reason: match plugin {
                    Some(command) => format!("its credential plugin {command} failed: {}", chain(&e)),
                    None => chain(&e),
                },
            })?;
            clients.push(ClusterClient::new(endpoint, kube).counted_by(requests));
        }
        let servers: Vec<_> = clients.iter().map(|m| m.endpoint().server.clone()).collect();
        progress.waiting(format!("an answer from {}", servers.join(", ")));
        let contexts = Self { clients };
        contexts.require_different().await?;
        Ok(contexts)
    }

    /// Clusters behind clients made elsewhere, for tests.
    pub fn of(clients: Vec<ClusterClient>) -> Self {
        Self { clients }
    }

    /// The clusters in the order of their roles.
    pub fn clients(&self) -> &[ClusterClient] {
        &self.clients
    }

    /// The requests that were made so far, to each cluster.
    pub fn requests(&self) -> Vec<ApiRequests> {
        self.clients.iter().flat_map(ClusterClient::requests).collect()
    }

    /// Two contexts with different names often lead to one cluster; its namespace kube-system has one UID for ever.
    async fn require_different(&self) -> Result<(), ContextError> {
        let uids = try_join_all(self.clients.iter().map(|client| async move {
            // Every authenticated user may read it, so dead servers and expired tokens show here.
            client.version().await?;
            Ok::<_, ApiError>(client.uid().await)
        }))
        .await?;
        for (n, client) in self.clients.iter().enumerate() {
            for (m, other) in self.clients[..n].iter().enumerate() {
                let evidence = match (&uids[m], &uids[n]) {
                    (Some(a), Some(b)) if a == b => format!("namespace kube-system has UID {a} in both"),
                    (Some(_), Some(_)) => continue,
                    _ if client.endpoint().server == other.endpoint().server => {
                        format!("both are {}", client.endpoint().server)
                    }
                    _ => continue,
                };
                return Err(ContextError::SameCluster {
                    first: other.name().clone(),
                    second: client.name().clone(),
                    evidence,
                });
            }
        }
        Ok(())
    }
}
