//! Objects as Helm rendered them against objects as they are: what differs, and who changed it. Only what the release
//! states is compared, since API servers and controllers add to it.

use serde_json::Value;
use std::collections::BTreeSet;

/// One difference between an object of the release and the same object in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What of the object: `key encrypt-node`, `replicas`, `image of cilium-agent`.
    pub what: String,
    /// The release's; none where it has none.
    pub rendered: Option<String>,
    /// The cluster's; none where it has none.
    pub live: Option<String>,
    /// Who changed it last, as far as the API server says.
    pub by: Option<Change>,
}

/// Who wrote a field last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field manager: `kubectl-edit`, `helm`.
    pub manager: String,
    /// When it last wrote any of its fields.
    pub time: Option<String>,
}

impl std::fmt::Display for Change {
    /// `kubectl-edit at 2026-12-01T07:00:00Z`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.time {
            Some(time) => write!(f, "{} at {time}", self.manager),
            None => f.write_str(&self.manager),
        }
    }
}

/// The keys of a ConfigMap that differ; keys that only the cluster has are among them.
pub fn of_config_map(rendered: &Value, live: &Value) -> Vec<Difference> {
    let data = |object: &Value| object["data"].as_object().cloned().unwrap_or_default();
    let (before, now) = (data(rendered), data(live));
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let mut found = Vec::new();
    for key in keys {
        let (rendered, current) = (text(before.get(key)), text(now.get(key)));
        if rendered != current {
            found.push(Difference {
                what: key.clone(),
                rendered,
                by: writer(live, &["f:data", &format!("f:{key}")]).or_else(|| writer(live, &["f:data"])),
                live: current,
            });
        }
    }
    found
}

/// What differs of a Deployment, DaemonSet or StatefulSet: replicas, and images, commands, arguments and environment of
/// its containers. Of the last three only that they differ is told, since they may hold secrets.
pub fn of_workload(rendered: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Compared {
        live,
        found: Vec::new(),
    };
    let replicas = |object: &Value| object["spec"]["replicas"].clone();
    found.compare(
        "replicas".to_owned(),
        (&replicas(rendered), &replicas(live)),
        &["f:spec", "f:replicas"],
    );
    let pod = |object: &Value| object["spec"]["template"]["spec"].clone();
    let (before, now) = (pod(rendered), pod(live));
    for list in ["initContainers", "containers"] {
        for container in before[list].as_array().into_iter().flatten() {
            let other = named(&now[list], &container["name"]);
            found.container(list, container, other);
        }
    }
    found.found
}

/// The item of a list with this name.
fn named<'a>(list: &'a Value, name: &Value) -> &'a Value {
    let items = list.as_array().into_iter().flatten();
    items
        .into_iter()
        .find(|item| item["name"] == *name)
        .unwrap_or(&Value::Null)
}

struct Compared<'a> {
    live: &'a Value,
    found: Vec<Difference>,
}

impl Compared<'_> {
    fn compare(&mut self, what: String, (before, now): (&Value, &Value), field: &[&str]) {
        if !before.is_null() && before != now {
            self.found.push(Difference {
                what,
                rendered: shown(before),
                live: shown(now),
                by: writer(self.live, field),
            });
        }
    }

    fn container(&mut self, list: &str, container: &Value, other: &Value) {
        let name = container["name"].as_str().unwrap_or_default();
        let (list, key) = (format!("f:{list}"), format!("k:{{\"name\":\"{name}\"}}"));
        let field = |field: &'static str| ["f:spec", "f:template", "f:spec", list.as_str(), key.as_str(), field];
        let (image, other_image) = (&container["image"], &other["image"]);
        self.compare(format!("image of {name}"), (image, other_image), &field("f:image"));
        for (of, what, owned) in [("command", "command", "f:command"), ("args", "arguments", "f:args")] {
            let pair = (&container[of], &other[of]);
            self.compare(format!("{what} of {name}"), pair, &field(owned));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = &named(&other["env"], &variable["name"])["value"];
            let what = format!("variable {} of {name}", variable["name"].as_str().unwrap_or_default());
            // The text itself stays here.
            let (before, now) = (&variable["value"], value);
            let hidden = |value: &Value| {
                if value.is_null() {
                    Value::Null
                } else {
                    Value::Array(Vec::new())
                }
            };
            if !before.is_null() && before != now {
                self.found.push(Difference {
                    what,
                    rendered: shown(&hidden(before)),
                    live: shown(&hidden(now)),
                    by: writer(self.live, &field("f:env")),
                });
            }
        }
    }
}

/// Who owns a field by `managedFields`, the last of several.
pub fn writer(object: &Value, field: &[&str]) -> Option<Change> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let owns = |entry: &&Value| {
        let fields = &entry["fieldsV1"];
        field
            .iter()
            .try_fold(fields, |fields, name| fields.get(*name))
            .is_some()
    };
    let last = entries
        .iter()
        .filter(owns)
        .max_by_key(|entry| entry["time"].as_str().unwrap_or_default())?;
    Some(Change {
        manager: last["manager"].as_str().unwrap_or("an unknown manager").to_owned(),
        time: last["time"].as_str().map(str::to_owned),
    })
}

/// A number or a word; lists may hold secrets.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => Some("(not shown)".to_owned()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_that_somebody_edited_names_who_and_when() {
        let rendered = json!({"data": {"encrypt-node": "true", "debug": "false"}});
        let live = json!({
            "metadata": {"managedFields": [
                {"manager": "helm", "time": "2026-11-01T00:00:00Z", "fieldsV1": {"f:data": {"f:debug": {}}}},
                {"manager": "kubectl-edit", "time": "2026-12-01T00:00:00Z",
                 "fieldsV1": {"f:data": {"f:encrypt-node": {}}}},
            ]},
            "data": {"encrypt-node": "false", "debug": "false", "more": "1"},
        });
        let found = of_config_map(&rendered, &live);
        let said: Vec<_> = found
            .iter()
            .map(|one| (one.what.as_str(), one.rendered.as_deref(), one.live.as_deref()))
            .collect();
        assert_eq!(
            said,
            [("encrypt-node", Some("true"), Some("false")), ("more", None, Some("1"))]
        );
        let by = found[0].by.as_ref().map(ToString::to_string);
        assert_eq!(by.as_deref(), Some("kubectl-edit at 2026-12-01T00:00:00Z"));
    }

    #[test]
    fn of_a_workload_only_what_the_release_states_is_compared() {
        let pod = |image: &str, env: Value| {
            json!({"template": {"spec": {"containers": [
                {"name": "a", "image": image, "args": ["--x"], "env": env, "resources": {}},
            ]}}})
        };
        let rendered = json!({"spec": pod("q/a:v1", json!([{"name": "K", "value": "1"}]))});
        let mut live =
            json!({"spec": pod("q/a:v1", json!([{"name": "K", "value": "1"}, {"name": "MORE", "value": "2"}]))});
        live["spec"]["replicas"] = json!(1);
        assert_eq!(of_workload(&rendered, &live), []);
        live["spec"] = pod("q/a:v2", json!([]));
        let found = of_workload(&rendered, &live);
        let said: Vec<_> = found.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(said, ["image of a", "variable K of a"]);
    }
}
