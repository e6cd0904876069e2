//! The Pod Security Standards (kubernetes.io/docs/concepts/security/pod-security-standards): a pod specification
//! against a level. The fields that the lab's kubelets do not know (SELinux, sysctls, procMount, Windows) are not
//! looked at.

use serde_json::Value;

/// A level that forbids something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Baseline,
    Restricted,
}

/// Capabilities that `baseline` lets a container add.
const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Volumes that `restricted` lets in.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

impl Level {
    /// The value of the label; none for `privileged`.
    pub(super) fn parse(label: &str) -> Option<Self> {
        match label {
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// What a pod specification does that the level forbids, worded as the API server words it.
pub(super) fn violations(level: Level, spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            found.push(format!("host namespaces ({field}=true)"));
        }
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kind = volume
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .find(|key| *key != "name");
        let name = &volume["name"];
        match (level, kind) {
            (_, Some("hostPath")) => found.push(format!("hostPath volumes (volume {name})")),
            (Level::Restricted, Some(kind)) if !VOLUMES.contains(&kind) => {
                found.push(format!(
                    "restricted volume types (volume {name} uses restricted volume type \"{kind}\")"
                ));
            }
            _ => {}
        }
    }
    let kinds = ["containers", "initContainers", "ephemeralContainers"];
    for container in kinds
        .iter()
        .flat_map(|kind| spec[kind].as_array().into_iter().flatten())
    {
        container_violations(level, &spec["securityContext"], container, &mut found);
    }
    found
}

fn container_violations(level: Level, pod: &Value, container: &Value, found: &mut Vec<String>) {
    let (name, own) = (&container["name"], &container["securityContext"]);
    let effective = |field: &str| if own[field].is_null() { &pod[field] } else { &own[field] };
    if own["privileged"] == true {
        found.push(format!(
            "privileged (container {name} must not set securityContext.privileged=true)"
        ));
    }
    let names = |list: &Value| -> Vec<String> {
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c.as_str().map(str::to_owned))
            .collect()
    };
    let (added, dropped) = (names(&own["capabilities"]["add"]), names(&own["capabilities"]["drop"]));
    let allowed: &[&str] = match level {
        Level::Baseline => &BASELINE_CAPABILITIES,
        Level::Restricted => &["NET_BIND_SERVICE"],
    };
    if let Some(capability) = added.iter().find(|capability| !allowed.contains(&capability.as_str())) {
        found.push(format!(
            "capabilities (container {name} must not include \"{capability}\" in securityContext.capabilities.add)"
        ));
    }
    for port in container["ports"].as_array().into_iter().flatten() {
        if let Some(number) = port["hostPort"].as_u64().filter(|number| *number > 0) {
            found.push(format!("hostPort (container {name} uses hostPort {number})"));
        }
    }
    let seccomp = effective("seccompProfile")["type"].as_str();
    if seccomp == Some("Unconfined") {
        found.push(format!(
            "seccompProfile (container {name} must not set seccompProfile.type to \"Unconfined\")"
        ));
    }
    if level == Level::Baseline {
        return;
    }
    if own["allowPrivilegeEscalation"] != false {
        found.push(format!(
            "allowPrivilegeEscalation != false (container {name} must set \
             securityContext.allowPrivilegeEscalation=false)"
        ));
    }
    if !dropped.iter().any(|capability| capability == "ALL") {
        found.push(format!(
            "unrestricted capabilities (container {name} must set securityContext.capabilities.drop=[\"ALL\"])"
        ));
    }
    if effective("runAsNonRoot") != &Value::Bool(true) {
        found.push(format!(
            "runAsNonRoot != true (pod or container {name} must set securityContext.runAsNonRoot=true)"
        ));
    }
    if effective("runAsUser").as_u64() == Some(0) {
        found.push(format!("runAsUser=0 (container {name} must not set runAsUser=0)"));
    }
    if !matches!(seccomp, Some("RuntimeDefault" | "Localhost" | "Unconfined")) {
        found.push(format!(
            "seccompProfile (pod or container {name} must set securityContext.seccompProfile.type to \
             \"RuntimeDefault\" or \"Localhost\")"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn restricted() -> Value {
        json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }}],
        })
    }

    #[test]
    fn a_restricted_pod_passes_everywhere() {
        for level in [Level::Baseline, Level::Restricted] {
            assert_eq!(violations(level, &restricted()), Vec::<String>::new());
        }
    }

    #[test]
    fn each_transgression_is_named() {
        for (path, value, word) in [
            ("/hostNetwork", json!(true), "host namespaces"),
            ("/containers/0/securityContext/privileged", json!(true), "privileged"),
            (
                "/containers/0/securityContext/capabilities/add",
                json!(["NET_RAW"]),
                "NET_RAW",
            ),
            ("/containers/0/securityContext/capabilities/drop", json!([]), "drop"),
            ("/securityContext/runAsNonRoot", json!(false), "runAsNonRoot"),
            ("/securityContext/seccompProfile", json!(null), "seccompProfile"),
            ("/containers/0/securityContext/runAsUser", json!(0), "runAsUser=0"),
            (
                "/volumes",
                json!([{"name": "v", "hostPath": {"path": "/"}}]),
                "hostPath",
            ),
        ] {
            let mut spec = restricted();
            let (parent, field) = path.rsplit_once('/').unwrap();
            spec.pointer_mut(parent).unwrap()[field] = value;
            let found = violations(Level::Restricted, &spec);
            assert!(found.len() == 1 && found[0].contains(word), "{path}: {found:?}");
        }
    }
}
