//! Pod Security admission: the Pod Security Standards *baseline* and *restricted*, enforced where the namespace's label
//! `pod-security.kubernetes.io/enforce` says so. Checks, order and wording are those of
//! `k8s.io/pod-security-admission`.

mod baseline;
mod restricted;

use crate::{error::ApiError, object::Object, resource::ResourceDef};
use serde_json::Value;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const VERSION: &str = "pod-security.kubernetes.io/enforce-version";

/// 403 for a pod that its namespace does not admit.
pub(super) fn check(namespace: &Object, def: &ResourceDef, pod: &Value) -> Result<(), ApiError> {
    let level = namespace.label(ENFORCE).unwrap_or("privileged");
    let violations = violations(level, pod);
    if violations.is_empty() {
        return Ok(());
    }
    let version = namespace.label(VERSION).unwrap_or("latest");
    let listed: Vec<String> = violations.iter().map(Violation::to_string).collect();
    let why = format!("violates PodSecurity \"{level}:{version}\": {}", listed.join(", "));
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiError::forbidden(def, name, &why))
}

fn violations(level: &str, pod: &Value) -> Vec<Violation> {
    let pod = PodView {
        metadata: &pod["metadata"],
        spec: &pod["spec"],
    };
    let mut found = Vec::new();
    match level {
        "baseline" => baseline::check(&pod, &mut found, baseline::Scope::Baseline),
        "restricted" => {
            baseline::check(&pod, &mut found, baseline::Scope::BelowRestricted);
            restricted::check(&pod, &mut found);
        }
        // An unknown level is treated as privileged; Kubernetes refuses the label itself.
        _ => {}
    }
    found
}

/// A control that a pod does not meet.
struct Violation {
    control: &'static str,
    detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.control, self.detail)
    }
}

/// A pod as the controls see it.
struct PodView<'a> {
    metadata: &'a Value,
    spec: &'a Value,
}

impl<'a> PodView<'a> {
    fn context(&self) -> &'a Value {
        &self.spec["securityContext"]
    }

    /// All containers, in the order in which the controls visit them.
    fn containers(&self) -> impl Iterator<Item = Container<'a>> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec[list].as_array().into_iter().flatten())
            .map(|value| Container {
                name: value["name"].as_str().unwrap_or_default(),
                value,
            })
    }

    /// The names of the containers that do something.
    fn names(&self, does: impl Fn(&Container<'a>) -> bool) -> Vec<&'a str> {
        self.containers()
            .filter(|container| does(container))
            .map(|container| container.name)
            .collect()
    }
}

struct Container<'a> {
    name: &'a str,
    value: &'a Value,
}

impl<'a> Container<'a> {
    fn context(&self) -> &'a Value {
        &self.value["securityContext"]
    }

    fn added(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.context()["capabilities"]["add"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }
}

/// `container "a"` or `containers "a", "b"`.
fn named(noun: &str, names: &[&str]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", quoted(names))
}

fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Without repetitions, in the order of first occurrence.
fn distinct<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use crate::{
        resource::names::{NAMESPACES, PODS},
        store::Store,
    };
    use serde_json::{Value, json};

    fn admit(level: &str, spec: Value) -> Result<(), String> {
        let store = Store::new();
        let labels = json!({"pod-security.kubernetes.io/enforce": level});
        store
            .create(&NAMESPACES, json!({"metadata": {"name": "n", "labels": labels}}))
            .expect("created");
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        store.create(&PODS, pod).map(|_| ()).map_err(|error| error.message)
    }

    fn restricted() -> Value {
        json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "i", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            }}],
        })
    }

    #[test]
    fn a_careful_pod_is_admitted_everywhere() {
        for level in ["privileged", "baseline", "restricted"] {
            assert_eq!(admit(level, restricted()), Ok(()), "{level}");
        }
    }

    #[test]
    fn a_careless_pod_is_refused_in_the_words_of_kubernetes() {
        let plain = json!({"containers": [{"name": "c", "image": "i"}]});
        assert_eq!(admit("baseline", plain.clone()), Ok(()));
        let expected = concat!(
            "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": ",
            "allowPrivilegeEscalation != false (container \"c\" must set \
             securityContext.allowPrivilegeEscalation=false), ",
            "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), ",
            "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), ",
            "seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \
             \"RuntimeDefault\" or \"Localhost\")",
        );
        assert_eq!(admit("restricted", plain), Err(expected.to_owned()));
    }

    #[test]
    fn every_baseline_control_can_refuse() {
        let container = |fields: Value| {
            let mut spec = restricted();
            for (key, value) in fields.as_object().into_iter().flatten() {
                spec["containers"][0][key] = value.clone();
            }
            spec
        };
        let pod = |fields: Value| {
            let mut spec = restricted();
            for (key, value) in fields.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            spec
        };
        let context = |fields: Value| container(json!({"securityContext": fields}));
        let cases = [
            (pod(json!({"hostNetwork": true})), "host namespaces (hostNetwork=true)"),
            (
                pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
                "hostPath volumes (volume \"v\")",
            ),
            (
                container(json!({"ports": [{"containerPort": 1, "hostPort": 80}]})),
                "hostPort (container \"c\" uses hostPort 80)",
            ),
            (
                context(json!({"privileged": true})),
                "privileged (container \"c\" must not set securityContext.privileged=true)",
            ),
            (
                context(json!({"capabilities": {"add": ["NET_RAW"]}})),
                "non-default capabilities (container \"c\" must not include \"NET_RAW\" in \
                 securityContext.capabilities.add)",
            ),
            (
                context(json!({"procMount": "Unmasked"})),
                "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
            ),
            (
                context(json!({"seccompProfile": {"type": "Unconfined"}})),
                "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
            ),
            (
                pod(json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}})),
                "forbidden sysctls (kernel.msgmax)",
            ),
        ];
        for (spec, expected) in cases {
            let message = admit("baseline", spec).expect_err(expected);
            assert!(message.ends_with(expected), "expected {expected:?} in {message:?}");
        }
    }

    #[test]
    fn restricted_looks_at_volumes_and_root() {
        let mut spec = restricted();
        spec["volumes"] = json!([{"name": "v", "hostPath": {"path": "/"}}]);
        let message = admit("restricted", spec).expect_err("host paths are restricted");
        assert!(
            message.ends_with("restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")"),
            "{message}"
        );
        let mut spec = restricted();
        spec["containers"][0]["securityContext"]["runAsUser"] = json!(0);
        let message = admit("restricted", spec).expect_err("root is refused");
        assert!(
            message.ends_with("runAsUser=0 (container \"c\" must not set runAsUser=0)"),
            "{message}"
        );
    }
}
