//! The API over TLS: accepts connections, speaks HTTP/1.1, and stops on demand. What is answered is [`crate::rest`]'s.

mod tls;

use crate::{
    audit::Audit,
    auth::{Tokens, bootstrap},
    pace::Pace,
    rest::{self, Api},
    store::Store,
    streams::Streams,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may take to end once the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a server reports about itself.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Common name of its certificate authority.
    pub authority: String,
    /// Names and addresses in its certificate, besides `localhost`, 127.0.0.1, `kubernetes` and
    /// `kubernetes.default.svc`.
    pub alternative_names: Vec<String>,
    /// The version of Kubernetes that it claims, such as `v1.33.6`.
    pub git_version: String,
    /// How long it thinks before it answers a request.
    pub pace: Pace,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            authority: "kubernetes".to_owned(),
            alternative_names: Vec::new(),
            git_version: "v1.33.6".to_owned(),
            pace: Pace::default(),
        }
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener cannot be used.
    #[error("failed to take over the listening socket of the API server")]
    Listener(#[source] std::io::Error),
    /// A certificate cannot be made, usually because of a wrong alternative name.
    #[error("failed to make the certificate of the API server")]
    Certificate(#[source] rcgen::Error),
    /// TLS cannot be set up.
    #[error("failed to set up TLS for the API server")]
    Tls(#[source] rustls::Error),
}

/// A running server. Dropping it stops it without waiting; [`Server::shutdown`] waits.
pub struct Server {
    address: SocketAddr,
    ca_pem: String,
    tokens: Tokens,
    audit: Audit,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Serves the store on an already bound listener, and collects its garbage. Must be called within a tokio runtime.
    pub fn start(
        listener: TcpListener,
        store: Store,
        streams: Arc<dyn Streams>,
        options: ServerOptions,
    ) -> Result<Self, StartError> {
        listener.set_nonblocking(true).map_err(StartError::Listener)?;
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Listener)?;
        let identity = tls::Identity::new(&options, address.ip()).map_err(StartError::Certificate)?;
        let acceptor = TlsAcceptor::from(Arc::new(identity.config.map_err(StartError::Tls)?));
        bootstrap::create_roles(&store);

        let (tokens, audit) = (Tokens::default(), Audit::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(store.garbage_collector().run(stop.clone()));
        let api = Api {
            store,
            streams,
            tokens: tokens.clone(),
            audit: audit.clone(),
            git_version: options.git_version,
            pace: options.pace,
            stop: stop.clone(),
        };
        tasks.spawn(accept(
            listener,
            acceptor,
            rest::router(api),
            stop.clone(),
            tasks.clone(),
        ));
        Ok(Self {
            address,
            ca_pem: identity.ca_pem,
            tokens,
            audit,
            stop,
            tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, as a kubeconfig wants it.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate of its authority, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The tokens that it accepts; issue some for clients.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// What its clients asked for.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Stops accepting, ends every connection (watches and streams included) and waits until all are closed.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    router: axum::Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, acceptor.clone(), router.clone(), stop.clone());
                tasks.spawn(connection);
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                // Out of descriptors, usually: others must close some first, and there is no event for that.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, router: axum::Router, stop: CancellationToken) {
    // Exec and port-forward are chatty: small frames must not wait for each other.
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        () = stop.cancelled() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let service = hyper_util::service::TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
            return;
        }
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FAREWELL, connection).await;
}
