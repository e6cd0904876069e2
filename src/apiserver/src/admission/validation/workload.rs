//! Workload controllers: selectors that match their templates, and what may not change.

use super::{names, pod, text};
use crate::{error::Cause, resource::ResourceDef, selector::LabelSelector};
use serde_json::{Map, Value, json};

const STATEFUL_SET: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                            'minReadySeconds' are forbidden";

pub(super) fn check(def: &ResourceDef, old: Option<&Value>, object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let restart: &[&str] = match &*def.kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" | "ReplicationController" => &["Always"],
        "Job" => &["OnFailure", "Never"],
        "CronJob" => {
            let template = &spec["jobTemplate"]["spec"]["template"];
            return check_template(
                "spec.jobTemplate.spec.template",
                template,
                &["OnFailure", "Never"],
                causes,
            );
        }
        _ => return,
    };
    check_template("spec.template", &spec["template"], restart, causes);
    check_selector(def, spec, causes);
    if spec["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        causes.push(Cause::invalid(
            "spec.replicas",
            &spec["replicas"],
            "must be greater than or equal to 0",
        ));
    }
    if let Some(old) = old {
        check_change(def, &old["spec"], spec, causes);
    }
}

fn check_template(path: &str, template: &Value, restart: &[&str], causes: &mut Vec<Cause>) {
    names::check_labels(&format!("{path}.labels"), &template["metadata"]["labels"], causes);
    pod::check_spec(&format!("{path}.spec"), &template["spec"], causes);
    let policy = &template["spec"]["restartPolicy"];
    if ["Always", "OnFailure", "Never"].contains(&text(policy)) && !restart.contains(&text(policy)) {
        causes.push(Cause::unsupported(
            format!("{path}.spec.restartPolicy"),
            policy,
            restart,
        ));
    }
}

fn check_selector(def: &ResourceDef, spec: &Value, causes: &mut Vec<Cause>) {
    let selector = &spec["selector"];
    match LabelSelector::from_object(selector) {
        None => causes.push(Cause::required("spec.selector", "")),
        Some(parsed) if parsed.is_everything() => {
            let why = format!("empty selector is invalid for {}", def.singular);
            causes.push(Cause::invalid("spec.selector", selector, &why));
        }
        Some(parsed) => {
            let labels = &spec["template"]["metadata"]["labels"];
            if !parsed.matches_labels(labels) {
                let labels = if labels.is_null() { json!({}) } else { labels.clone() };
                let why = "`selector` does not match template `labels`";
                causes.push(Cause::invalid("spec.template.metadata.labels", &labels, why));
            }
        }
    }
}

fn check_change(def: &ResourceDef, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    match &*def.kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" if old["selector"] != new["selector"] => {
            causes.push(Cause::invalid("spec.selector", &new["selector"], "field is immutable"));
        }
        "StatefulSet" => {
            let fixed = |spec: &Value| {
                let mut spec: Map<String, Value> = spec.as_object().cloned().unwrap_or_default();
                for changeable in [
                    "replicas",
                    "ordinals",
                    "template",
                    "updateStrategy",
                    "revisionHistoryLimit",
                    "persistentVolumeClaimRetentionPolicy",
                    "minReadySeconds",
                ] {
                    spec.remove(changeable);
                }
                spec
            };
            if fixed(old) != fixed(new) {
                causes.push(Cause::forbidden("spec", STATEFUL_SET));
            }
        }
        "Job" => {
            for field in ["selector", "completionMode", "template"] {
                if old[field] != new[field] {
                    causes.push(Cause::invalid(
                        format!("spec.{field}"),
                        &new[field],
                        "field is immutable",
                    ));
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        resource::names::{DEPLOYMENTS, PODS, SERVICES},
        store::Store,
    };
    use serde_json::{Value, json};

    fn deployment(selector: Value, labels: Value) -> Value {
        json!({
            "metadata": {"name": "d", "namespace": "default"},
            "spec": {
                "selector": selector,
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
        })
    }

    #[test]
    fn selectors_must_match_and_never_change() {
        let store = Store::new();
        let error = store
            .create(&DEPLOYMENTS, deployment(Value::Null, json!({"a": "1"})))
            .expect_err("no selector");
        assert_eq!(
            error.message,
            "Deployment.apps \"d\" is invalid: spec.selector: Required value"
        );
        let wrong = deployment(json!({"matchLabels": {"a": "2"}}), json!({"a": "1"}));
        let error = store
            .create(&DEPLOYMENTS, wrong)
            .expect_err("the selector does not match");
        let expected = "Deployment.apps \"d\" is invalid: spec.template.metadata.labels: Invalid value: \
                        {\"a\":\"1\"}: `selector` does not match template `labels`";
        assert_eq!(error.message, expected);
        let right = deployment(json!({"matchLabels": {"a": "1"}}), json!({"a": "1"}));
        store.create(&DEPLOYMENTS, right).expect("created");
        let changed = store.modify(&DEPLOYMENTS, Some("default"), "d", |d| {
            d["spec"]["selector"] = json!({"matchLabels": {"b": "1"}});
            d["spec"]["template"]["metadata"]["labels"] = json!({"b": "1"});
        });
        let error = changed.expect_err("the selector is immutable");
        assert!(error.message.ends_with("field is immutable"), "{}", error.message);
        assert_eq!(error.details.map(|d| d.causes.len()), Some(1));
    }

    #[test]
    fn pods_and_services_are_checked() {
        let store = Store::new();
        let pod = json!({"metadata": {"name": "P", "namespace": "default"}, "spec": {"containers": [{"name": "c"}]}});
        let error = store.create(&PODS, pod).expect_err("wrong name, no image");
        let fields: Vec<String> = error
            .details
            .map(|d| d.causes.into_iter().map(|c| c.field).collect())
            .unwrap_or_default();
        assert_eq!(fields, ["metadata.name", "spec.containers[0].image"]);
        let spec = json!({"containers": [{"name": "c", "image": "i"}]});
        let pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec});
        store.create(&PODS, pod).expect("created");
        let error = store
            .modify(&PODS, Some("default"), "p", |p| p["spec"]["hostNetwork"] = json!(true))
            .expect_err("a pod's specification is fixed");
        assert!(
            error.message.contains("pod updates may not change fields other than"),
            "{}",
            error.message
        );
        store
            .modify(&PODS, Some("default"), "p", |p| {
                p["spec"]["containers"][0]["image"] = json!("i:2")
            })
            .expect("images may change");
        store.bind_pod("default", "p", "n").expect("a pod may get a node");

        let service = json!({"metadata": {"name": "1s", "namespace": "default"}, "spec": {"ports": [{"port": 0}]}});
        let error = store.create(&SERVICES, service).expect_err("wrong name and port");
        let fields: Vec<String> = error
            .details
            .map(|d| d.causes.into_iter().map(|c| c.field).collect())
            .unwrap_or_default();
        assert_eq!(
            fields,
            ["metadata.name", "spec.ports[0].port", "spec.ports[0].targetPort"]
        );
        let spec = json!({"clusterIP": "10.0.0.1", "ports": [{"port": 1}]});
        let service = json!({"metadata": {"name": "s", "namespace": "default"}, "spec": spec});
        store.create(&SERVICES, service).expect("created");
        let moved = store.modify(&SERVICES, Some("default"), "s", |s| {
            s["spec"]["clusterIP"] = json!("10.0.0.2");
            s["spec"]["clusterIPs"] = json!(["10.0.0.2"]);
        });
        let message = moved.expect_err("the address is fixed").message;
        assert!(message.ends_with("may not change once set"), "{message}");
    }
}
