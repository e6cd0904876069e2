//! Names, labels and annotations.

use super::text;
use crate::{
    error::{Cause, CauseKind},
    resource::ResourceDef,
};
use serde_json::{Value, json};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                         '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                         for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                     validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                          alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
                          'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
                           '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
                           'my_value',  or '12345', regex used for validation is \
                           '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                         with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                         validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Bytes of all annotations together.
const ANNOTATIONS: usize = 256 * 1024;

pub(super) fn check(def: &ResourceDef, old: Option<&Value>, object: &Value, causes: &mut Vec<Cause>) {
    let metadata = &object["metadata"];
    if old.is_none() {
        check_name(def, text(&metadata["name"]), causes);
    }
    check_labels("metadata.labels", &metadata["labels"], causes);
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    let mut size = 0;
    for (key, value) in annotations {
        size += key.len() + text(value).len();
        if let Some(why) = qualified(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), &why));
        }
    }
    if size > ANNOTATIONS {
        let message = format!("Too long: may not be more than {ANNOTATIONS} bytes");
        causes.push(Cause {
            kind: CauseKind::TooLong,
            field: "metadata.annotations".to_owned(),
            message,
        });
    }
}

fn check_name(def: &ResourceDef, name: &str, causes: &mut Vec<Cause>) {
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
        return;
    }
    let wrong = match (&*def.group, &*def.kind) {
        ("", "Service") => label_1035(name),
        ("", "Namespace") => label(name),
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io", _) => path_segment(name),
        _ => subdomain(name),
    };
    causes.extend(wrong.map(|why| Cause::invalid("metadata.name", &json!(name), &why)));
}

/// Labels: keys and values.
pub(super) fn check_labels(field: &str, labels: &Value, causes: &mut Vec<Cause>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(why) = qualified(key) {
            causes.push(Cause::invalid(field, &json!(key), &why));
        }
        if let Some(why) = label_value(text(value)) {
            causes.push(Cause::invalid(field, value, &why));
        }
    }
}

fn too_long(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} characters"))
}

fn word(text: &str, inner: fn(u8) -> bool, edge: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    word(text, |b| lower(b) || b == b'-', lower)
}

/// What is wrong with a DNS-1123 label.
pub(super) fn label(text: &str) -> Option<String> {
    too_long(text, 63).or_else(|| (!is_label(text)).then(|| LABEL.to_owned()))
}

/// What is wrong with a DNS-1123 subdomain.
pub(super) fn subdomain(text: &str) -> Option<String> {
    too_long(text, 253).or_else(|| (!text.split('.').all(is_label)).then(|| SUBDOMAIN.to_owned()))
}

fn label_1035(text: &str) -> Option<String> {
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    too_long(text, 63).or_else(|| (!starts || !is_label(text)).then(|| LABEL_1035.to_owned()))
}

fn path_segment(text: &str) -> Option<String> {
    match text {
        "." | ".." => Some(format!("may not be '{text}'")),
        _ => ['/', '%']
            .into_iter()
            .find(|c| text.contains(*c))
            .map(|c| format!("may not contain '{c}'")),
    }
}

fn loose(text: &str) -> bool {
    word(
        text,
        |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'),
        |b| b.is_ascii_alphanumeric(),
    )
}

fn label_value(text: &str) -> Option<String> {
    too_long(text, 63).or_else(|| (!text.is_empty() && !loose(text)).then(|| LABEL_VALUE.to_owned()))
}

fn qualified(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".to_owned());
        }
        if let Some(why) = subdomain(prefix) {
            return Some(format!("prefix part {why}"));
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    too_long(name, 63)
        .map(|why| format!("name part {why}"))
        .or_else(|| (!loose(name)).then(|| NAME_PART.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{label, label_1035, label_value, qualified, subdomain};

    #[test]
    fn names_follow_the_rfcs() {
        assert!(label("web-1").is_none() && label("1").is_none());
        assert!(label("Web").is_some() && label("-a").is_some() && label("a.b").is_some() && label("").is_some());
        assert!(subdomain("a.b-c.d").is_none() && subdomain("a..b").is_some() && subdomain(&"a".repeat(254)).is_some());
        assert!(label_1035("a1").is_none() && label_1035("1a").is_some());
        assert!(label_value("").is_none() && label_value("A_b.c").is_none() && label_value("a b").is_some());
        assert!(qualified("example.com/Name").is_none() && qualified("a/b/c").is_some() && qualified("/x").is_some());
    }
}
