//! An agent's identity in HTTP headers, both ways.

use crate::attempt::Peer;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use meshproof_contract::Identity;
use std::net::IpAddr;

const CLUSTER: HeaderName = HeaderName::from_static("x-meshproof-cluster");
const NODE: HeaderName = HeaderName::from_static("x-meshproof-node");
const NAMESPACE: HeaderName = HeaderName::from_static("x-meshproof-namespace");
const POD: HeaderName = HeaderName::from_static("x-meshproof-pod");
const SOURCE: HeaderName = HeaderName::from_static("x-meshproof-source");

/// The headers of this identity, answering a client at `source`.
pub(crate) fn to_headers(identity: &Identity, source: IpAddr, headers: &mut HeaderMap) {
    let fields = [
        (CLUSTER, &identity.cluster),
        (NODE, &identity.node),
        (NAMESPACE, &identity.namespace),
        (POD, &identity.pod),
        (SOURCE, &source.to_string()),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// What these headers say; nothing if they are not an agent's.
pub(crate) fn from_headers(headers: &HeaderMap) -> Peer {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let identity = || {
        Some(Identity {
            cluster: text(CLUSTER)?,
            node: text(NODE)?,
            namespace: text(NAMESPACE)?,
            pod: text(POD)?,
        })
    };
    Peer {
        identity: identity(),
        source: text(SOURCE).and_then(|source| source.parse().ok()),
    }
}
