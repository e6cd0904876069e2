//! The schema of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, as their definitions of Cilium 1.18.3 have it:
//! what fields there are, of what type. Parts that the lab does not enforce are left open.

use serde_json::{Value, json};

const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
const ENTITIES: [&str; 11] = [
    "all",
    "world",
    "cluster",
    "host",
    "init",
    "ingress",
    "unmanaged",
    "remote-node",
    "health",
    "none",
    "kube-apiserver",
];

/// `openAPIV3Schema` of both.
pub(crate) fn schema() -> Value {
    let rule = rule();
    object(json!({
        "apiVersion": text(),
        "kind": text(),
        "metadata": {"type": "object"},
        "spec": rule,
        "specs": list(rule.clone()),
        "status": open(),
    }))
}

fn rule() -> Value {
    let boolean = json!({"type": "boolean"});
    object(json!({
        "description": text(),
        "enableDefaultDeny": object(json!({"ingress": boolean, "egress": boolean})),
        "endpointSelector": selector(),
        "nodeSelector": selector(),
        "labels": list(object(json!({"key": text(), "value": text(), "source": text()}))),
        "log": object(json!({"value": text()})),
        "ingress": list(clause("from", true)),
        "ingressDeny": list(clause("from", false)),
        "egress": list(clause("to", true)),
        "egressDeny": list(clause("to", false)),
    }))
}

/// A clause of one direction; only what allows may ask for authentication.
fn clause(way: &str, allows: bool) -> Value {
    let mut fields = json!({
        "icmps": list(object(json!({"fields": list(object(json!({
            "family": one_of(&["IPv4", "IPv6"]),
            "type": {"x-kubernetes-int-or-string": true},
        })))}))),
        "toPorts": list(ports()),
    });
    for (field, schema) in [
        ("Endpoints", list(selector())),
        ("Requires", list(selector())),
        ("Nodes", list(selector())),
        ("Groups", list(open())),
        ("Entities", list(one_of(&ENTITIES))),
        ("CIDR", list(text())),
        (
            "CIDRSet",
            list(object(json!({
                "cidr": text(), "cidrGroupRef": text(), "cidrGroupSelector": selector(), "except": list(text()),
            }))),
        ),
    ] {
        fields[format!("{way}{field}")] = schema;
    }
    if way == "to" {
        fields["toServices"] = list(object(json!({
            "k8sService": object(json!({"namespace": text(), "serviceName": text()})),
            "k8sServiceSelector": object(json!({"namespace": text(), "selector": selector()})),
        })));
    }
    if allows {
        fields["authentication"] = object(json!({"mode": one_of(&["disabled", "required", "test-always-fail"])}));
        if way == "to" {
            fields["toFQDNs"] = list(name());
        }
    }
    object(fields)
}

fn ports() -> Value {
    let header = object(json!({"mismatch": text(), "name": text(), "secret": open(), "value": text()}));
    let http = object(json!({
        "headerMatches": list(header), "headers": list(text()), "host": text(), "method": text(), "path": text(),
    }));
    object(json!({
        "ports": list(object(json!({
            "port": text(),
            "endPort": {"type": "integer"},
            "protocol": one_of(&["TCP", "UDP", "SCTP", "ANY"]),
        }))),
        "rules": object(json!({
            "dns": list(name()), "http": list(http), "kafka": list(open()), "l7": list(open()), "l7proto": text(),
        })),
        "serverNames": list(text()),
        "listener": open(),
        "originatingTLS": open(),
        "terminatingTLS": open(),
    }))
}

fn name() -> Value {
    object(json!({"matchName": text(), "matchPattern": text()}))
}

fn selector() -> Value {
    object(json!({
        "matchLabels": {"type": "object", "additionalProperties": text()},
        "matchExpressions": list(object(json!({
            "key": text(),
            "operator": one_of(&["In", "NotIn", "Exists", "DoesNotExist"]),
            "values": list(text()),
        }))),
    }))
}

fn text() -> Value {
    json!({"type": "string"})
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn open() -> Value {
    json!({"type": "object", OPEN: true})
}
