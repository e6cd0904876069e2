//! A registry in memory, as far as a push needs one (OCI distribution-spec 1.1, "Push"): it refuses blobs and manifests
//! that are not what their digests say, and manifests of what it does not have.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// `pusher:secret` in base64, and what is issued for it.
const BASIC: &str = "Basic cHVzaGVyOnNlY3JldA==";
const TOKEN: &str = "token-of-pusher";

/// Who may push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Open,
    /// User `pusher` with its password, each time.
    Password,
    /// Whoever has a token, which user `pusher` gets for its password.
    Token,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<String, Bytes>,
    /// By tag and by digest.
    manifests: BTreeMap<String, Bytes>,
    uploads: usize,
}

pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Registry {
    pub async fn start(access: Access) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| answer(request, access, address, Arc::clone(&state)));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, state, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, with its connections.
    pub async fn stop(self) {
        self.server.abort();
        let _ = self.server.await;
    }

    pub fn manifest(&self, name: &str) -> Bytes {
        self.state.lock().expect("no panic").manifests[name].clone()
    }

    pub fn digest_of(&self, tag: &str) -> String {
        digest(&self.manifest(tag))
    }

    /// How many blobs were sent.
    pub fn uploads(&self) -> usize {
        self.state.lock().expect("no panic").uploads
    }
}

async fn answer(
    request: Request<Incoming>,
    access: Access,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let authorization = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let path = parts.uri.path().to_owned();
    let respond = |status: StatusCode| Response::builder().status(status);
    let empty = || Full::new(Bytes::new());
    if path == "/token" {
        let issued = format!("{{\"token\":\"{TOKEN}\"}}");
        return Ok(match authorization {
            Some(BASIC) => respond(StatusCode::OK).body(Full::new(issued.into())),
            _ => respond(StatusCode::UNAUTHORIZED).body(Full::new("no such user".into())),
        }
        .expect("a response"));
    }
    let (admitted, challenge) = match access {
        Access::Open => (true, String::new()),
        Access::Password => (authorization == Some(BASIC), "Basic realm=\"test\"".to_owned()),
        Access::Token => (
            authorization == Some(&format!("Bearer {TOKEN}")),
            format!("Bearer realm=\"http://{address}/token\",service=\"test\""),
        ),
    };
    if !admitted {
        let response = respond(StatusCode::UNAUTHORIZED).header(WWW_AUTHENTICATE, challenge);
        return Ok(response.body(empty()).expect("a response"));
    }
    let mut state = state.lock().expect("no panic");
    let repository = format!("http://{address}/v2/platform/agent");
    let rest = path.strip_prefix("/v2/platform/agent/").unwrap_or_default();
    let response = match (parts.method, rest) {
        (Method::GET, _) if path == "/v2/" => respond(StatusCode::OK),
        (Method::HEAD, blob) if blob.starts_with("blobs/") => {
            let known = state.blobs.contains_key(&blob["blobs/".len()..]);
            respond(if known { StatusCode::OK } else { StatusCode::NOT_FOUND })
        }
        (Method::POST, "blobs/uploads/") => {
            respond(StatusCode::ACCEPTED).header(LOCATION, format!("{repository}/blobs/uploads/1"))
        }
        (Method::PUT, "blobs/uploads/1") => {
            let query = parts.uri.query().unwrap_or_default().replace("%3A", ":");
            let claimed = query.strip_prefix("digest=").unwrap_or_default().to_owned();
            if digest(&body) == claimed {
                state.uploads += 1;
                let location = format!("{repository}/blobs/{claimed}");
                state.blobs.insert(claimed, body);
                respond(StatusCode::CREATED).header(LOCATION, location)
            } else {
                respond(StatusCode::BAD_REQUEST)
            }
        }
        (Method::PUT, manifest) if manifest.starts_with("manifests/") => {
            let name = manifest["manifests/".len()..].to_owned();
            let wrong = name.starts_with("sha256:") && name != digest(&body);
            if wrong || !is_complete(&state, &body) {
                respond(StatusCode::BAD_REQUEST)
            } else {
                let location = format!("{repository}/manifests/{}", digest(&body));
                state.manifests.insert(digest(&body), body.clone());
                state.manifests.insert(name, body);
                respond(StatusCode::CREATED).header(LOCATION, location)
            }
        }
        _ => respond(StatusCode::NOT_FOUND),
    };
    Ok(response.body(empty()).expect("a response"))
}

/// Whether everything that a manifest or an index names is there.
fn is_complete(state: &State, body: &[u8]) -> bool {
    let manifest: Value = serde_json::from_slice(body).unwrap_or_default();
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let blobs = layers.chain(manifest.get("config"));
    let manifests = manifest["manifests"].as_array().into_iter().flatten();
    let named = |descriptor: &Value| descriptor["digest"].as_str().unwrap_or_default().to_owned();
    blobs.map(named).all(|digest| state.blobs.contains_key(&digest))
        && manifests.map(named).all(|digest| state.manifests.contains_key(&digest))
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}
