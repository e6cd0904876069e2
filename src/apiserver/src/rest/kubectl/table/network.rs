//! The columns of services and what stands around them.

use super::{Printer, columns, created, items, labels, or_none, selector, text};
use crate::{object::Object, resource::ResourceDef};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How many addresses a cell shows before it says how many more there are.
const SHOWN: usize = 3;

pub(super) fn printer(def: &ResourceDef) -> Option<Printer> {
    Some(match (&*def.group, &*def.kind) {
        ("", "Service") => Printer::new(
            columns("Name,Type,Cluster-IP,External-IP,Port(s),Age|Selector"),
            service,
        ),
        ("", "Endpoints") => Printer::new(columns("Name,Endpoints,Age"), |object, now| {
            let addresses = items(&object["subsets"]).flat_map(|subset| {
                let ports: Vec<String> = items(&subset["ports"]).map(|p| format!(":{}", p["port"])).collect();
                let ports = if ports.is_empty() { vec![String::new()] } else { ports };
                ports.into_iter().flat_map(|port| {
                    items(&subset["addresses"])
                        .map(move |a| format!("{}{port}", text(&a["ip"])))
                        .collect::<Vec<_>>()
                })
            });
            vec![
                json!(object.name()),
                shortened(addresses.collect()),
                created(object, now),
            ]
        }),
        ("discovery.k8s.io", "EndpointSlice") => Printer::new(columns("Name,AddressType,Ports,Endpoints,Age"), slice),
        ("networking.k8s.io", "Ingress") => Printer::new(columns("Name,Class,Hosts,Address,Ports,Age"), ingress),
        ("networking.k8s.io", "IngressClass") => {
            Printer::new(columns("Name,Controller,Parameters,Age"), |object, now| {
                let parameters = match text(&object["spec"]["parameters"]["name"]) {
                    "" => json!("<none>"),
                    name => json!(format!("{}/{name}", text(&object["spec"]["parameters"]["kind"]))),
                };
                vec![
                    json!(object.name()),
                    json!(text(&object["spec"]["controller"])),
                    parameters,
                    created(object, now),
                ]
            })
        }
        ("networking.k8s.io", "NetworkPolicy") => Printer::new(columns("Name,Pod-Selector,Age"), |object, now| {
            vec![
                json!(object.name()),
                selector(&object["spec"]["podSelector"]),
                created(object, now),
            ]
        }),
        _ => return None,
    })
}

fn shortened(list: Vec<String>) -> Value {
    if list.len() <= SHOWN {
        return or_none(&list.join(","));
    }
    json!(format!("{} + {} more...", list[..SHOWN].join(","), list.len() - SHOWN))
}

fn service(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = items(&spec["ports"])
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64().unwrap_or_default() {
                0 => format!("{}/{protocol}", port["port"]),
                node => format!("{}:{node}/{protocol}", port["port"]),
            }
        })
        .collect();
    vec![
        json!(object.name()),
        json!(spec["type"].as_str().unwrap_or("ClusterIP")),
        or_none(text(&spec["clusterIP"])),
        json!(external(object)),
        or_none(&ports.join(",")),
        created(object, now),
        labels(&spec["selector"]),
    ]
}

fn external(service: &Object) -> String {
    let spec = &service["spec"];
    let fixed: Vec<&str> = items(&spec["externalIPs"]).map(text).collect();
    match text(&spec["type"]) {
        "ExternalName" => text(&spec["externalName"]).to_owned(),
        "LoadBalancer" => {
            let given = balancers(service);
            let all: Vec<&str> = given.into_iter().chain(fixed).collect();
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        _ if fixed.is_empty() => "<none>".to_owned(),
        _ => fixed.join(","),
    }
}

/// Addresses or names in `status.loadBalancer`.
fn balancers(object: &Object) -> Vec<&str> {
    let ingress = items(&object["status"]["loadBalancer"]["ingress"]);
    ingress
        .filter_map(|i| i["ip"].as_str().or(i["hostname"].as_str()))
        .collect()
}

fn slice(object: &Object, now: Timestamp) -> Vec<Value> {
    let ports = match object["ports"].as_array().map(Vec::as_slice) {
        None | Some([]) => json!("<unset>"),
        Some(ports) => {
            let shown = |port: &Value| port["port"].as_i64().map_or_else(|| "*".to_owned(), |p| p.to_string());
            shortened(ports.iter().map(shown).collect())
        }
    };
    let addresses = items(&object["endpoints"]).flat_map(|e| items(&e["addresses"]).map(|a| text(a).to_owned()));
    let addresses = match shortened(addresses.collect()) {
        Value::String(none) if none == "<none>" => json!("<unset>"),
        shown => shown,
    };
    vec![
        json!(object.name()),
        json!(text(&object["addressType"])),
        ports,
        addresses,
        created(object, now),
    ]
}

fn ingress(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let hosts: Vec<String> = items(&spec["rules"])
        .map(|r| text(&r["host"]).to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = if hosts.is_empty() { json!("*") } else { shortened(hosts) };
    let class = or_none(text(&spec["ingressClassName"]));
    let ports = if items(&spec["tls"]).next().is_some() {
        "80, 443"
    } else {
        "80"
    };
    let addresses = json!(balancers(object).join(","));
    vec![
        json!(object.name()),
        class,
        hosts,
        addresses,
        json!(ports),
        created(object, now),
    ]
}
