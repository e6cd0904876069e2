//! The columns of nodes, namespaces, configuration, rights and events.

use super::{Column, Printer, age, columns, count, created, items, or_none, text};
use crate::{object::Object, resource::ResourceDef};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) fn printer(def: &ResourceDef) -> Option<Printer> {
    let plain = |names: &str, cells: fn(&Object) -> Vec<Value>| {
        Printer::new(columns(names), move |object, now| {
            let mut row = vec![json!(object.name())];
            row.extend(cells(object));
            row.push(created(object, now));
            row
        })
    };
    Some(match (&*def.group, &*def.kind) {
        ("", "Node") => Printer::new(
            columns("Name,Status,Roles,Age,Version|Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime"),
            node,
        ),
        ("", "Namespace") => plain("Name,Status,Age", |o| vec![json!(text(&o["status"]["phase"]))]),
        ("", "ConfigMap") => data_printer(
            vec![Column::name(), Column::new("Data").number(), Column::new("Age")],
            None,
        ),
        ("", "Secret") => data_printer(
            vec![
                Column::name(),
                Column::new("Type"),
                Column::new("Data").number(),
                Column::new("Age"),
            ],
            Some("type"),
        ),
        ("", "ServiceAccount") => plain("Name,Secrets,Age", |o| vec![json!(items(&o["secrets"]).count())]),
        ("", "Event") => Printer::new(
            columns("Last Seen,Type,Reason,Object,Message|Subobject,Source,First Seen,Count,Name"),
            event,
        ),
        ("", "PersistentVolumeClaim") => plain("Name,Status,Volume,Capacity,Access Modes,StorageClass,Age", |o| {
            let capacity = text(&o["status"]["capacity"]["storage"]);
            let volume = text(&o["spec"]["volumeName"]);
            let class = text(&o["spec"]["storageClassName"]);
            let modes = access_modes(&o["spec"]["accessModes"]);
            vec![
                json!(text(&o["status"]["phase"])),
                json!(volume),
                json!(capacity),
                json!(modes),
                json!(class),
            ]
        }),
        ("", "LimitRange") => plain("Name,Created At", |_| Vec::new()),
        ("coordination.k8s.io", "Lease") => {
            plain("Name,Holder,Age", |o| vec![json!(text(&o["spec"]["holderIdentity"]))])
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => plain("Name,Role,Age", |o| {
            let role = &o["roleRef"];
            vec![json!(format!("{}/{}", text(&role["kind"]), text(&role["name"])))]
        }),
        ("storage.k8s.io", "StorageClass") => plain(
            "Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age",
            |o| {
                let policy = o["reclaimPolicy"].as_str().unwrap_or("Delete");
                let mode = o["volumeBindingMode"].as_str().unwrap_or("Immediate");
                let expands = json!(o["allowVolumeExpansion"] == true);
                vec![json!(text(&o["provisioner"])), json!(policy), json!(mode), expands]
            },
        ),
        ("scheduling.k8s.io", "PriorityClass") => plain("Name,Value,Global-Default,Age", |o| {
            vec![json!(count(&o["value"])), json!(o["globalDefault"] == true)]
        }),
        _ => return None,
    })
}

fn access_modes(modes: &Value) -> String {
    let short = |mode: &Value| match text(mode) {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "?",
    };
    items(modes).map(short).collect::<Vec<_>>().join(",")
}

fn data_printer(columns: Vec<Column>, extra: Option<&'static str>) -> Printer {
    Printer::new(columns, move |object, now| {
        let entries = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
        let mut row = vec![json!(object.name())];
        row.extend(extra.map(|field| json!(text(&object[field]))));
        row.push(json!(entries("data") + entries("binaryData")));
        row.push(created(object, now));
        row
    })
}

fn node(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let ready = items(&status["conditions"]).find(|c| c["type"] == "Ready");
    let mut state = match ready.map(|c| text(&c["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let labels = object.labels();
    let roles = labels
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (*key == "kubernetes.io/role").then_some(*value),
        });
    let roles: Vec<&str> = roles.filter(|role| !role.is_empty()).collect();
    let address = |kind: &str| {
        let found = items(&status["addresses"]).find(|a| a["type"] == kind);
        or_none(found.map_or("", |a| text(&a["address"])))
    };
    let info = |field: &str| match text(&status["nodeInfo"][field]) {
        "" => json!("<unknown>"),
        text => json!(text),
    };
    vec![
        json!(object.name()),
        json!(state),
        or_none(&roles.join(",")),
        created(object, now),
        json!(text(&status["nodeInfo"]["kubeletVersion"])),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn event(object: &Object, now: Timestamp) -> Vec<Value> {
    let time = |fields: [&Value; 3]| {
        let known = fields
            .into_iter()
            .find(|value| value.is_string())
            .unwrap_or(&Value::Null);
        age::since(known, now)
    };
    let (first, last) = (&object["firstTimestamp"], &object["lastTimestamp"]);
    let first = time([first, &object["eventTime"], &object["metadata"]["creationTimestamp"]]);
    let last = time([&object["series"]["lastObservedTime"], last, &object["eventTime"]]);
    let last = if last == "<unknown>" { first.clone() } else { last };
    let involved = &object["involvedObject"];
    let about = format!("{}/{}", text(&involved["kind"]).to_lowercase(), text(&involved["name"]));
    let source = [text(&object["source"]["component"]), text(&object["source"]["host"])];
    let source = source
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect::<Vec<_>>()
        .join(", ");
    vec![
        json!(last),
        json!(text(&object["type"])),
        json!(text(&object["reason"])),
        json!(about),
        json!(text(&object["message"]).trim()),
        json!(text(&involved["fieldPath"])),
        json!(source),
        json!(first),
        json!(object["count"].as_i64().unwrap_or(1)),
        json!(object.name()),
    ]
}
