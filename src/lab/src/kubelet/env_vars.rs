//! A container's environment and arguments: values, references to fields and to ConfigMaps, `$(VAR)`.

use meshproof_apiserver::{
    Object, Store,
    resource::names::{CONFIG_MAPS, SECRETS},
};
use serde_json::Value;

/// The variables of a container, in order. The error is the message of `CreateContainerConfigError`.
pub(super) fn variables(store: &Store, pod: &Object, container: &Value) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = vec![
        (
            "PATH".into(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        ),
        ("HOSTNAME".into(), hostname(pod)),
    ];
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let prefix = source["prefix"].as_str().unwrap_or_default();
        for (kind, part) in [("configMapRef", Part::ConfigMap), ("secretRef", Part::Secret)] {
            let Some(name) = source[kind]["name"].as_str() else {
                continue;
            };
            match part.read(store, pod, name) {
                Some(values) => found.extend(values.into_iter().map(|(k, v)| (format!("{prefix}{k}"), v))),
                None if source[kind]["optional"] == true => {}
                None => return Err(format!("{} \"{name}\" not found", part.noun())),
            }
        }
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let value = match variable["valueFrom"].as_object() {
            None => Some(expand(variable["value"].as_str().unwrap_or_default(), &found)),
            Some(_) => referred(store, pod, &variable["valueFrom"])?,
        };
        if let Some(value) = value {
            found.retain(|(present, _)| present != name);
            found.push((name.to_owned(), value));
        }
    }
    Ok(found)
}

/// The name that the pod knows itself by.
pub(super) fn hostname(pod: &Object) -> String {
    if pod["spec"]["hostNetwork"] == true {
        return pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    }
    pod["spec"]["hostname"].as_str().unwrap_or(pod.name()).to_owned()
}

/// Command and arguments with variables expanded.
pub(super) fn argv(container: &Value, variables: &[(String, String)]) -> (Vec<String>, Vec<String>) {
    let words = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|word| expand(word, variables))
            .collect()
    };
    (words(&container["command"]), words(&container["args"]))
}

#[derive(Clone, Copy)]
enum Part {
    ConfigMap,
    Secret,
}

impl Part {
    fn noun(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    fn read(self, store: &Store, pod: &Object, name: &str) -> Option<Vec<(String, String)>> {
        use base64::Engine;
        let decode = |text: &str| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
            String::from_utf8(bytes).ok()
        };
        let resource = match self {
            Self::ConfigMap => CONFIG_MAPS,
            Self::Secret => SECRETS,
        };
        let object = store.find(&resource, pod.namespace(), name)?;
        let data = object["data"].as_object().cloned().unwrap_or_default();
        let values = data.into_iter().filter_map(|(key, value)| {
            let text = value.as_str()?;
            let text = match self {
                Self::ConfigMap => Some(text.to_owned()),
                Self::Secret => decode(text),
            };
            Some((key, text?))
        });
        Some(values.collect())
    }
}

fn referred(store: &Store, pod: &Object, from: &Value) -> Result<Option<String>, String> {
    if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
        return field(pod, path)
            .map(Some)
            .ok_or_else(|| format!("unsupported field path: {path}"));
    }
    if !from["resourceFieldRef"].is_null() {
        return Err("the lab's kubelets do not support resourceFieldRef".to_owned());
    }
    for (kind, part) in [("configMapKeyRef", Part::ConfigMap), ("secretKeyRef", Part::Secret)] {
        let reference = &from[kind];
        let (Some(name), Some(key)) = (reference["name"].as_str(), reference["key"].as_str()) else {
            continue;
        };
        let values = part.read(store, pod, name);
        let value = values
            .as_ref()
            .and_then(|values| values.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()));
        return match (value, values) {
            (Some(value), _) => Ok(Some(value)),
            _ if reference["optional"] == true => Ok(None),
            (None, None) => Err(format!("{} \"{name}\" not found", part.noun())),
            (None, Some(_)) => Err(format!("couldn't find key {key} in {} {name}", part.noun())),
        };
    }
    Err("unknown source of an environment variable".to_owned())
}

/// A field of the downward API.
fn field(pod: &Object, path: &str) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |values: &Value| {
        let ips = values
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|ip| ip["ip"].as_str());
        ips.collect::<Vec<_>>().join(",")
    };
    let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
    if let Some(key) = keyed("metadata.labels['") {
        return Some(pod.label(&key).unwrap_or_default().to_owned());
    }
    if let Some(key) = keyed("metadata.annotations['") {
        return Some(pod.annotation(&key).unwrap_or_default().to_owned());
    }
    Some(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().unwrap_or_default().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "spec.nodeName" => text(&pod["spec"]["nodeName"]),
        "spec.serviceAccountName" => text(&pod["spec"]["serviceAccountName"]),
        "status.hostIP" => text(&pod["status"]["hostIP"]),
        "status.podIP" => text(&pod["status"]["podIP"]),
        "status.podIPs" => all(&pod["status"]["podIPs"]),
        "status.hostIPs" => all(&pod["status"]["hostIPs"]),
        _ => return None,
    })
}

/// Replaces `$(NAME)` of known variables; `$$(NAME)` is an escape (`third_party/forked/golang/expansion`).
fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match variables.iter().find(|(known, _)| known == name) {
                Some((_, value)) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_kubernetes_does() {
        let known = [("A".to_owned(), "1".to_owned())];
        for (text, expanded) in [
            ("x$(A)y", "x1y"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
        ] {
            assert_eq!(expand(text, &known), expanded, "{text}");
        }
    }
}
