//! Configuration, rights, leases and definitions.

use super::{items, names, text};
use crate::error::Cause;
use serde_json::Value;

const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                   'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// ConfigMaps and Secrets.
pub(super) fn check(old: Option<&Value>, object: &Value, causes: &mut Vec<Cause>) {
    for field in ["data", "binaryData"] {
        for key in object[field].as_object().into_iter().flatten().map(|(key, _)| key) {
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if key.is_empty() || !key.chars().all(valid) {
                causes.push(Cause::invalid(format!("{field}[{key}]"), &key.as_str().into(), KEY));
            }
        }
    }
    let Some(old) = old else { return };
    if old["immutable"] == true {
        for field in ["data", "binaryData"] {
            if old[field] != object[field] {
                causes.push(Cause::forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
        if object["immutable"] != true {
            causes.push(Cause::forbidden(
                "immutable",
                "field is immutable when `immutable` is set",
            ));
        }
    }
    if old["type"] != object["type"] {
        causes.push(Cause::invalid("type", &object["type"], "field is immutable"));
    }
}

/// Roles and bindings.
pub(super) fn check_rights(old: Option<&Value>, object: &Value, causes: &mut Vec<Cause>) {
    for (index, rule) in items(&object["rules"]) {
        if items(&rule["verbs"]).next().is_none() {
            causes.push(Cause::required(
                format!("rules[{index}].verbs"),
                "verbs must contain at least one value",
            ));
        }
        let paths = items(&rule["nonResourceURLs"]).next().is_some();
        if !paths && items(&rule["resources"]).next().is_none() {
            let field = format!("rules[{index}].resources");
            causes.push(Cause::required(
                field,
                "resource rules must supply at least one resource",
            ));
        }
    }
    if let Some(old) = old.filter(|old| old["roleRef"] != object["roleRef"]) {
        debug_assert!(!old["roleRef"].is_null() || object["roleRef"].is_object());
        causes.push(Cause::invalid("roleRef", &object["roleRef"], "cannot change roleRef"));
    }
    for (index, subject) in items(&object["subjects"]) {
        let kinds = ["ServiceAccount", "User", "Group"];
        if !kinds.contains(&text(&subject["kind"])) {
            causes.push(Cause::unsupported(
                format!("subjects[{index}].kind"),
                &subject["kind"],
                &kinds,
            ));
        }
    }
}

/// Leases.
pub(super) fn check_lease(lease: &Value, causes: &mut Vec<Cause>) {
    let seconds = &lease["spec"]["leaseDurationSeconds"];
    if seconds.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.push(Cause::invalid(
            "spec.leaseDurationSeconds",
            seconds,
            "must be greater than 0",
        ));
    }
}

/// CustomResourceDefinitions.
pub(super) fn check_definition(definition: &Value, causes: &mut Vec<Cause>) {
    let spec = &definition["spec"];
    let (plural, group) = (text(&spec["names"]["plural"]), text(&spec["group"]));
    for (field, value) in [
        ("spec.names.plural", plural),
        ("spec.group", group),
        ("spec.names.kind", text(&spec["names"]["kind"])),
    ] {
        if value.is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    if let Some(why) = names::subdomain(group).filter(|_| !group.is_empty()) {
        causes.push(Cause::invalid("spec.group", &spec["group"], &why));
    }
    let name = &definition["metadata"]["name"];
    if text(name) != format!("{plural}.{group}") {
        causes.push(Cause::invalid(
            "metadata.name",
            name,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if !["Namespaced", "Cluster"].contains(&text(&spec["scope"])) {
        causes.push(Cause::unsupported(
            "spec.scope",
            &spec["scope"],
            &["Cluster", "Namespaced"],
        ));
    }
    let stored = items(&spec["versions"])
        .filter(|(_, version)| version["storage"] == true)
        .count();
    if stored != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &spec["versions"], why));
    }
}
