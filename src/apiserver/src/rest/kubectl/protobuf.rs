//! Protobuf bodies into JSON. `kubectl` since 1.32 sends what it makes itself (`create configmap`, `auth can-i`) in
//! this form. Answers are always JSON, which every client takes as well.

use crate::{
    decode::types::{Field, Kind, Repeated, message_of, messages},
    error::ApiError,
    time,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// What `k8s.io/apimachinery` puts before its messages.
const MAGIC: &[u8] = b"k8s\0";

/// Integers and booleans of which zero and false mean something else than absence (pointers in Go). Others are sent
/// even when they are not set, and are left out as Go's JSON does.
const MEANT: &[&str] = &[
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "backoffLimit",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "immutable",
    "manualSelector",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "priority",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];

/// The object in a protobuf body; 400 when it is none, 415 when its kind is not known in this form.
pub(in crate::rest) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let wrong = |why: &str| ApiError::bad_request(format!("failed to decode the protobuf body: {why}"));
    let envelope = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| wrong("it does not begin with k8s\\0"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in Wire(envelope) {
        match entry.ok_or_else(|| wrong("the envelope is truncated"))? {
            (1, Data::Bytes(meta)) => {
                for entry in Wire(meta) {
                    match entry.ok_or_else(|| wrong("the type is truncated"))? {
                        (1, Data::Bytes(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Data::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Data::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let name = message_of(&api_version, &kind);
    let Some((name, _)) = messages().get_key_value(name.as_str()) else {
        return Err(ApiError::unsupported_media_type(&[
            "application/json",
            "application/yaml",
        ]));
    };
    let mut object = message(name, raw, 0).ok_or_else(|| wrong("a message is truncated or malformed"))?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    Ok(Value::Object(object))
}

/// None when it is truncated, malformed or nested too deeply.
fn message(name: &'static str, bytes: &[u8], depth: u8) -> Option<Map<String, Value>> {
    if depth > 32 {
        return None;
    }
    let fields = messages().get(name)?;
    let mut object = Map::new();
    for entry in Wire(bytes) {
        let (number, data) = entry?;
        // Fields of a newer Kubernetes: left out, as a real server would.
        let Some(field) = fields.get(&number) else { continue };
        match field.repeated {
            Repeated::No if field.name.is_empty() => match value(field.kind, data, depth)? {
                Value::Object(inlined) => object.extend(inlined),
                _ => return None,
            },
            Repeated::No => {
                let value = value(field.kind, data, depth)?;
                if !is_unset(field, &value) {
                    object.insert(field.name.to_owned(), value);
                }
            }
            Repeated::List => {
                let value = value(field.kind, data, depth)?;
                match object.entry(field.name).or_insert_with(|| json!([])) {
                    Value::Array(list) => list.push(value),
                    _ => return None,
                }
            }
            Repeated::Map => {
                let Data::Bytes(pair) = data else { return None };
                let (mut key, mut found) = (String::new(), default(field.kind));
                for entry in Wire(pair) {
                    match entry? {
                        (1, Data::Bytes(text)) => key = String::from_utf8(text.to_vec()).ok()?,
                        (2, data) => found = value(field.kind, data, depth)?,
                        _ => {}
                    }
                }
                match object.entry(field.name).or_insert_with(|| json!({})) {
                    Value::Object(map) => map.insert(key, found),
                    _ => return None,
                };
            }
        }
    }
    Some(object)
}

fn default(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Bytes => json!(""),
        Kind::Integer | Kind::Double => json!(0),
        Kind::Boolean => json!(false),
        Kind::Message(_) => json!({}),
    }
}

fn is_unset(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(false) => !MEANT.contains(&field.name),
        Value::Number(number) => number.as_i64() == Some(0) && !MEANT.contains(&field.name) && is_plain(field.kind),
        _ => false,
    }
}

/// False for IntOrString, whose zero is a value.
fn is_plain(kind: Kind) -> bool {
    !matches!(kind, Kind::Message(_))
}

fn value(kind: Kind, data: Data<'_>, depth: u8) -> Option<Value> {
    Some(match (kind, data) {
        (Kind::Text, Data::Bytes(text)) => Value::String(String::from_utf8(text.to_vec()).ok()?),
        (Kind::Bytes, Data::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Kind::Integer, Data::Number(number)) => json!(number.cast_signed()),
        (Kind::Boolean, Data::Number(number)) => json!(number != 0),
        (Kind::Double, Data::Number(bits)) => json!(f64::from_bits(bits)),
        (Kind::Message(name), Data::Bytes(bytes)) => {
            special(name, bytes).unwrap_or_else(|| message(name, bytes, depth + 1).map(Value::Object))?
        }
        _ => return None,
    })
}

/// The types whose JSON is not an object of their fields. The outer none: it is an ordinary message.
fn special(name: &str, bytes: &[u8]) -> Option<Option<Value>> {
    let numbers = |wanted: u64| {
        Wire(bytes).flatten().find_map(|(number, data)| match data {
            Data::Number(value) if number == wanted => Some(value.cast_signed()),
            _ => None,
        })
    };
    let text = |wanted: u64| {
        Wire(bytes).flatten().find_map(|(number, data)| match data {
            Data::Bytes(text) if number == wanted => String::from_utf8(text.to_vec()).ok(),
            _ => None,
        })
    };
    Some(match name {
        "meta.Time" | "meta.MicroTime" => {
            let (seconds, nanos) = (numbers(1).unwrap_or_default(), numbers(2).unwrap_or_default());
            if bytes.is_empty() || (seconds == 0 && nanos == 0) {
                return Some(Some(Value::Null));
            }
            let time = Timestamp::new(seconds, i32::try_from(nanos).unwrap_or_default()).ok();
            let printed = if name == "meta.Time" { time::at } else { time::at_micros };
            time.map(|time| json!(printed(time)))
        }
        "quantity.Quantity" => Some(json!(text(1).unwrap_or_else(|| "0".to_owned()))),
        "intstr.IntOrString" => Some(match numbers(1).unwrap_or_default() {
            0 => json!(numbers(2).unwrap_or_default()),
            _ => json!(text(3).unwrap_or_default()),
        }),
        "runtime.RawExtension" | "meta.FieldsV1" => Some(
            text(1)
                .and_then(|raw| serde_json::from_str(&raw).ok())
                .unwrap_or(Value::Null),
        ),
        "authentication.ExtraValue" | "authorization.ExtraValue" => Some(Value::Array(
            Wire(bytes)
                .flatten()
                .filter_map(|(_, data)| match data {
                    Data::Bytes(text) => Some(json!(String::from_utf8_lossy(text))),
                    Data::Number(_) => None,
                })
                .collect(),
        )),
        _ => return None,
    })
}

/// One field's content on the wire.
#[derive(Clone, Copy)]
enum Data<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message one after the other; `Some(None)` once, at the first that is malformed.
struct Wire<'a>(&'a [u8]);

impl<'a> Iterator for Wire<'a> {
    type Item = Option<(u64, Data<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Wire<'a> {
    fn field(&mut self) -> Option<(u64, Data<'a>)> {
        let tag = self.varint()?;
        let data = match tag & 7 {
            0 => Data::Number(self.varint()?),
            1 => Data::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Data::Bytes(self.take(length)?)
            }
            5 => Data::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((tag >> 3, data))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{MAGIC, decode};
    use proptest::prelude::*;
    use serde_json::json;

    /// `kubectl create configmap a --from-literal=x=1`, as recorded from kubectl 1.33.
    const CONFIG_MAP: &[u8] = b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b\x0a\x11\x0a\x01a\x12\x00\x1a\x00\
        \x22\x00\x2a\x002\x008\x00B\x00\x12\x06\x0a\x01x\x12\x011\x1a\x00\x22\x00";

    #[test]
    fn a_recorded_body_becomes_json() {
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}});
        assert_eq!(decode(CONFIG_MAP).expect("it decodes"), expected);
    }

    #[test]
    fn other_bodies_are_refused() {
        assert_eq!(decode(b"{}").expect_err("JSON").code(), 400);
        assert_eq!(
            decode(b"k8s\x00\x0a\x08\x0a\x02v1\x12\x02Xx")
                .expect_err("an unknown kind")
                .code(),
            415
        );
        for length in 0..CONFIG_MAP.len() {
            let _ = decode(&CONFIG_MAP[..length]);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
            let _ = decode(&[MAGIC, &bytes].concat());
            let _ = decode(&[b"k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x50".as_slice(), &bytes].concat());
        }
    }
}
