//! The built-in types: which fields they have, of which type and with which protobuf number.

use std::{collections::HashMap, sync::OnceLock};

const SCHEMA: &str = include_str!("types.schema");

/// A field of a message.
pub(crate) struct Field {
    /// Its JSON name; empty when the fields of its message are inlined.
    pub name: &'static str,
    pub repeated: Repeated,
    pub kind: Kind,
}

/// Whether a field is a list or a map from strings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    No,
    List,
    Map,
}

/// The type of a field's values.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Integer,
    Boolean,
    Bytes,
    Double,
    Message(&'static str),
}

type Messages = HashMap<&'static str, HashMap<u64, Field>>;

/// Every message by name, such as `core.Pod`, with its fields by number.
pub(crate) fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let lines = SCHEMA.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some((words.next()?, words.filter_map(field).collect()))
            })
            .collect()
    })
}

fn field(text: &'static str) -> Option<(u64, Field)> {
    let (name, rest) = text.split_once('=')?;
    let (number, kind) = rest.split_once(':')?;
    let (repeated, kind) = match kind.as_bytes().first()? {
        b'*' => (Repeated::List, &kind[1..]),
        b'%' => (Repeated::Map, &kind[1..]),
        _ => (Repeated::No, kind),
    };
    let kind = match kind {
        "s" => Kind::Text,
        "i" => Kind::Integer,
        "b" => Kind::Boolean,
        "y" => Kind::Bytes,
        "d" => Kind::Double,
        message => Kind::Message(message),
    };
    Some((number.parse().ok()?, Field { name, repeated, kind }))
}

/// The name of the message of a kind.
pub(crate) fn message_of(api_version: &str, kind: &str) -> String {
    if kind == "DeleteOptions" {
        return "meta.DeleteOptions".to_owned();
    }
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let package = match group {
        "" => "core",
        "rbac.authorization.k8s.io" => "rbac",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("{package}.{kind}")
}

/// Types whose JSON is not an object of their fields.
pub(crate) const SPECIAL: [&str; 9] = [
    "meta.Time",
    "meta.MicroTime",
    "meta.Duration",
    "meta.FieldsV1",
    "quantity.Quantity",
    "intstr.IntOrString",
    "runtime.RawExtension",
    "authentication.ExtraValue",
    "authorization.ExtraValue",
];

#[cfg(test)]
mod tests {
    use super::{Kind, SPECIAL, messages};

    #[test]
    fn every_message_of_the_schema_is_known() {
        for (name, fields) in messages() {
            for field in fields.values() {
                if let Kind::Message(inner) = field.kind {
                    assert!(
                        messages().contains_key(inner) || SPECIAL.contains(&inner),
                        "{name}.{} is a {inner}",
                        field.name
                    );
                }
            }
        }
    }
}
