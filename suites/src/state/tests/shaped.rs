//! Healthy clusters of any shape: on every node a pod of the global Service `demo/echo`.

use crate::testing::{Fake, Shape, Site};
use meshproof_contract::{CiliumQuery, Environment};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const LABEL: &str = "k8s:app=echo";
const POD: u8 = 40;
const ROUTER: u8 = 1;
const HEALTH: u8 = 2;

/// Clusters of that shape, whose agents have what the APIs say.
pub fn world(shape: Shape) -> Arc<dyn Environment> {
    let mut world = Fake::of(shape);
    for site in shape.sites() {
        for object in objects(site) {
            world = world.object(site.name, object);
        }
    }
    let world = world.nodes(move |_, _, list| *list = shape.sites().into_iter().flat_map(nodes).collect());
    let world = world.policies(move |node, query| {
        let sites = shape.sites();
        let home = sites.iter().find(|site| node.split('-').next() == Some(site.name));
        home.map_or(Value::Null, |home| printed(&sites, *home, node, query))
    });
    Arc::new(world)
}

fn identity(site: Site) -> u64 {
    (u64::from(site.id) << 16) + 7
}

fn objects(site: Site) -> Vec<Value> {
    let echo = json!({"namespace": "demo", "name": "echo", "annotations": {"service.cilium.io/global": "true"}});
    let mut all = vec![json!({
        "kind": "Service", "metadata": echo,
        "spec": {
            "clusterIP": site.service_address(0, 77),
            "selector": {"app": "echo"},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    })];
    let mut endpoints = Vec::new();
    for n in site.nodes() {
        let (node, address) = (site.node(n), site.pod_address(n, POD));
        let metadata = json!({
            "namespace": "demo", "name": format!("echo-{n}"), "uid": format!("{node}-echo"), "labels": {"app": "echo"},
        });
        all.push(json!({
            "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node},
            "status": {
                "phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}],
            },
        }));
        let networking = json!({"addressing": [{"ipv4": address}]});
        all.push(json!({
            "kind": "CiliumEndpoint", "metadata": metadata,
            "status": {"identity": {"id": identity(site), "labels": [LABEL]}, "networking": networking},
        }));
        all.push(json!({
            "kind": "CiliumNode",
            "metadata": {"name": node, "annotations": {"network.cilium.io/wg-pub-key": format!("key of {node}")}},
            "spec": {
                "addresses": [
                    {"type": "InternalIP", "ip": site.node_address(n)},
                    {"type": "CiliumInternalIP", "ip": site.pod_address(n, ROUTER)},
                ],
                "health": {"ipv4": site.pod_address(n, HEALTH)},
                "ipam": {"podCIDRs": [format!("10.{}.{n}.0/24", 242 + 2 * site.id)]},
            },
        }));
        endpoints.push(json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": node}));
    }
    let labels = json!({
        "kubernetes.io/service-name": "echo",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    all.push(json!({
        "kind": "EndpointSlice", "metadata": {"namespace": "demo", "name": "echo-x", "labels": labels},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    }));
    all
}

fn nodes(site: Site) -> Vec<Value> {
    let named = site
        .nodes()
        .map(|n| json!({"name": format!("{}/{}", site.name, site.node(n))}));
    named.collect()
}

fn printed(sites: &[Site], home: Site, node: &str, query: CiliumQuery) -> Value {
    let pods = || {
        sites
            .iter()
            .flat_map(|site| site.nodes().map(|n| (*site, site.pod_address(n, POD))))
    };
    let frontend = home.service_address(0, 77);
    match query {
        CiliumQuery::Services => {
            let backends: Vec<Value> = pods()
                .map(|(_, ip)| json!({"ip": ip, "port": 8080, "protocol": "TCP", "state": "active"}))
                .collect();
            let flags = json!({"namespace": "demo", "name": "echo", "type": "ClusterIP"});
            let at = json!({"ip": frontend, "port": 80, "protocol": "TCP", "scope": "external"});
            let realized = json!({"flags": flags, "frontend-address": at, "backend-addresses": backends});
            json!([{"status": {"realized": realized}}])
        }
        CiliumQuery::BalancerMap => {
            let slots = pods().zip(1..).map(|((_, ip), slot)| {
                let key = format!("{frontend}:80/TCP ({slot})");
                (key, json!([format!("{ip}:8080/TCP (1) ({slot})")]))
            });
            let first = (
                format!("{frontend}:80/TCP (0)"),
                json!(["0.0.0.0:0 (1) (0) [ClusterIP] "]),
            );
            Value::Object(slots.chain([first]).collect::<Map<_, _>>())
        }
        CiliumQuery::Ipcache => {
            let of_nodes = sites.iter().flat_map(|site| site.nodes().map(move |n| (*site, n)));
            let of_nodes = of_nodes.flat_map(|(site, n)| {
                let own = if site.node(n) == node { 1 } else { 6 };
                let host = [site.node_address(n), site.pod_address(n, ROUTER)].map(|ip| (ip, own));
                host.into_iter().chain([(site.pod_address(n, HEALTH), 4)])
            });
            let of_nodes = of_nodes.map(|(ip, identity)| {
                let text = format!("identity={identity} encryptkey=0 tunnelendpoint=0.0.0.0 flags=<none>");
                (format!("{ip}/32"), json!([text]))
            });
            let entries = pods().map(|(site, ip)| {
                let text = format!(
                    "identity={} encryptkey=255 tunnelendpoint=0.0.0.0 flags=<none>",
                    identity(site)
                );
                (format!("{ip}/32"), json!([text]))
            });
            Value::Object(entries.chain(of_nodes).collect::<Map<_, _>>())
        }
        CiliumQuery::Identities => {
            let known = sites
                .iter()
                .map(|site| json!({"id": identity(*site), "labels": [LABEL]}));
            known.collect()
        }
        CiliumQuery::Configuration => {
            json!({"ClusterID": home.id, "ClusterName": home.name, "EnablePolicy": "default"})
        }
        _ => Value::Null,
    }
}
