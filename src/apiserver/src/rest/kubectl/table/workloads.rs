//! The columns of workload controllers.

use super::{Column, Printer, age, columns, count, created, items, or_none, selector, text};
use crate::{object::Object, resource::ResourceDef};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) fn printer(def: &ResourceDef) -> Option<Printer> {
    let numbers = |mut columns: Vec<Column>, which: std::ops::Range<usize>| {
        for column in &mut columns[which] {
            column.kind = "integer";
        }
        columns
    };
    Some(match (&*def.group, &*def.kind) {
        ("apps", "Deployment") => Printer::new(
            columns("Name,Ready,Up-to-date,Available,Age|Containers,Images,Selector"),
            deployment,
        ),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            let columns = columns("Name,Desired,Current,Ready,Age|Containers,Images,Selector");
            Printer::new(numbers(columns, 1..4), replica_set)
        }
        ("apps", "DaemonSet") => {
            let columns =
                columns("Name,Desired,Current,Ready,Up-to-date,Available,Node Selector,Age|Containers,Images,Selector");
            Printer::new(numbers(columns, 1..6), daemon_set)
        }
        ("apps", "StatefulSet") => Printer::new(columns("Name,Ready,Age|Containers,Images"), stateful_set),
        ("apps", "ControllerRevision") => Printer::new(columns("Name,Controller,Revision,Age"), revision),
        ("batch", "Job") => Printer::new(
            columns("Name,Status,Completions,Duration,Age|Containers,Images,Selector"),
            job,
        ),
        ("batch", "CronJob") => Printer::new(
            columns("Name,Schedule,Timezone,Suspend,Active,Last Schedule,Age|Containers,Images,Selector"),
            cron_job,
        ),
        ("policy", "PodDisruptionBudget") => Printer::new(
            columns("Name,Min Available,Max Unavailable,Allowed Disruptions,Age"),
            budget,
        ),
        _ => return None,
    })
}

/// Names and images of the containers of a template.
fn containers(template: &Value) -> [Value; 2] {
    let list = |field: &str| {
        let texts: Vec<&str> = items(&template["spec"]["containers"])
            .map(|c| text(&c[field]))
            .collect();
        json!(texts.join(","))
    };
    [list("name"), list("image")]
}

fn deployment(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"]));
    let updated = count(&status["updatedReplicas"]);
    let [names, images] = containers(&spec["template"]);
    let available = json!(count(&status["availableReplicas"]));
    let age = created(object, now);
    vec![
        json!(object.name()),
        json!(ready),
        json!(updated),
        available,
        age,
        names,
        images,
        selector(&spec["selector"]),
    ]
}

fn replica_set(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = containers(&spec["template"]);
    vec![
        json!(object.name()),
        json!(count(&spec["replicas"])),
        json!(count(&status["replicas"])),
        json!(count(&status["readyReplicas"])),
        created(object, now),
        names,
        images,
        selector(&spec["selector"]),
    ]
}

fn daemon_set(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = containers(&spec["template"]);
    vec![
        json!(object.name()),
        json!(count(&status["desiredNumberScheduled"])),
        json!(count(&status["currentNumberScheduled"])),
        json!(count(&status["numberReady"])),
        json!(count(&status["updatedNumberScheduled"])),
        json!(count(&status["numberAvailable"])),
        super::labels(&spec["template"]["spec"]["nodeSelector"]),
        created(object, now),
        names,
        images,
        selector(&spec["selector"]),
    ]
}

fn stateful_set(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", count(&status["readyReplicas"]), count(&spec["replicas"]));
    let [names, images] = containers(&spec["template"]);
    vec![json!(object.name()), json!(ready), created(object, now), names, images]
}

fn revision(object: &Object, now: Timestamp) -> Vec<Value> {
    let owner = items(&object["metadata"]["ownerReferences"]).find(|o| o["controller"] == true);
    let controller = owner.map_or_else(
        || json!("<none>"),
        |owner| {
            let group = text(&owner["apiVersion"])
                .rsplit_once('/')
                .map_or("", |(group, _)| group);
            let kind = text(&owner["kind"]).to_lowercase();
            let dot = if group.is_empty() { "" } else { "." };
            json!(format!("{kind}{dot}{group}/{}", text(&owner["name"])))
        },
    );
    vec![
        json!(object.name()),
        controller,
        object["revision"].clone(),
        created(object, now),
    ]
}

fn job(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let holds = |kind: &str| items(&status["conditions"]).any(|c| c["type"] == kind && c["status"] == "True");
    let state = if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if object.is_terminating() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else {
        "Running"
    };
    let wanted = spec["completions"].as_i64().unwrap_or(1);
    let duration = match (&status["startTime"], &status["completionTime"]) {
        (Value::String(_), end @ Value::String(_)) => {
            let end = text(end).parse().unwrap_or(now);
            age::since(&status["startTime"], end)
        }
        (Value::String(_), _) => age::since(&status["startTime"], now),
        _ => String::new(),
    };
    let [names, images] = containers(&spec["template"]);
    vec![
        json!(object.name()),
        json!(state),
        json!(format!("{}/{wanted}", count(&status["succeeded"]))),
        json!(duration),
        created(object, now),
        names,
        images,
        selector(&spec["selector"]),
    ]
}

fn cron_job(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = match &status["lastScheduleTime"] {
        Value::Null => json!("<none>"),
        time => json!(age::since(time, now)),
    };
    let template = &spec["jobTemplate"]["spec"];
    let [names, images] = containers(&template["template"]);
    vec![
        json!(object.name()),
        json!(text(&spec["schedule"])),
        or_none(text(&spec["timeZone"])),
        json!(if spec["suspend"] == true { "True" } else { "False" }),
        json!(items(&status["active"]).count()),
        last,
        created(object, now),
        names,
        images,
        selector(&template["selector"]),
    ]
}

fn budget(object: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let bound = |value: &Value| match value {
        Value::Null => json!("N/A"),
        Value::String(text) => json!(text),
        number => json!(number.to_string()),
    };
    let allowed = json!(count(&status["disruptionsAllowed"]));
    vec![
        json!(object.name()),
        bound(&spec["minAvailable"]),
        bound(&spec["maxUnavailable"]),
        allowed,
        created(object, now),
    ]
}
