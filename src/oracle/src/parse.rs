//! From policy objects to [`Policy`]s. What is not understood is an error: a policy that is silently read as less than
//! it says would be a false expectation.

mod cilium;
mod kubernetes;

use crate::model::Policy;
use serde_json::Value;

/// Why an object could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A key that no policy of this kind has: a typo, or newer than this program.
    #[error("{place}: unknown key `{key}`")]
    UnknownKey {
        /// Where.
        place: String,
        /// The key.
        key: String,
    },
    /// A value of another kind than expected.
    #[error("{place}: expected {expected}, found {found}")]
    Kind {
        /// Where.
        place: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Known to Cilium, but the oracle has no expectation for it.
    #[error("{place}: `{what}` is not supported")]
    Unsupported {
        /// Where.
        place: String,
        /// The key or value.
        what: String,
    },
    /// Cilium refuses it.
    #[error("{place}: {reason}")]
    Invalid {
        /// Where.
        place: String,
        /// Why.
        reason: String,
    },
}

impl ParseError {
    pub(crate) fn kind(place: &str, expected: &str, found: &Value) -> Self {
        ParseError::Kind {
            place: place.to_owned(),
            expected: expected.to_owned(),
            found: found.to_string(),
        }
    }
    pub(crate) fn invalid(place: &str, reason: impl Into<String>) -> Self {
        ParseError::Invalid {
            place: place.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Reads a CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy or NetworkPolicy of a cluster (its name in the mesh).
pub fn parse(object: &Value, cluster: &str) -> Result<Vec<Policy>, ParseError> {
    let kind = object["kind"].as_str().unwrap_or_default();
    match (object["apiVersion"].as_str().unwrap_or_default(), kind) {
        ("cilium.io/v2", "CiliumNetworkPolicy") => {
            cilium::parse(object, cluster, cilium::Reach::Namespace(namespace(object)?))
        }
        ("cilium.io/v2", "CiliumClusterwideNetworkPolicy") => cilium::parse(object, cluster, cilium::Reach::Cluster),
        ("networking.k8s.io/v1", "NetworkPolicy") => Ok(vec![kubernetes::parse(object, cluster, namespace(object)?)?]),
        _ => Err(ParseError::kind("kind", "a policy", &object["kind"])),
    }
}

fn namespace(object: &Value) -> Result<&str, ParseError> {
    object["metadata"]["namespace"]
        .as_str()
        .ok_or_else(|| ParseError::kind("metadata.namespace", "a name", &Value::Null))
}

fn title(object: &Value) -> String {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    match text("namespace") {
        "" => format!("{kind} {}", text("name")),
        namespace => format!("{kind} {namespace}/{}", text("name")),
    }
}

/// The elements of a list; absent or null is none.
fn elements<'a>(value: &'a Value, place: &str) -> Result<&'a [Value], ParseError> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(list) => Ok(list),
        other => Err(ParseError::kind(place, "a list", other)),
    }
}

fn only_keys(value: &Value, allowed: &[&str], place: &str) -> Result<(), ParseError> {
    let object = value
        .as_object()
        .ok_or_else(|| ParseError::kind(place, "an object", value))?;
    match object.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => Err(ParseError::UnknownKey {
            place: place.to_owned(),
            key: key.clone(),
        }),
        None => Ok(()),
    }
}
