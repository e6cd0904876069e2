//! Clusters whose installation of Cilium is as the files say: files, a Helm release, objects, agents, and Flux.

use crate::testing::{Fake, Shape, Site};
use base64::{Engine, engine::general_purpose::STANDARD};
use meshproof_contract::{
    CiliumQuery, ClaimSource, Environment, GitFacts,
    chain::{Hidden, Pin, Stated, Unshown},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// When the release was deployed, and when the agents started.
const DEPLOYED: &str = "2026-11-30T10:00:00Z";
const STARTED: &str = "2026-11-30T10:01:00Z";

/// What the chart makes of the values, as far as these clusters have it.
pub fn config(name: &str) -> BTreeMap<String, String> {
    let site = [
        ("cluster-name", name),
        ("enable-wireguard", "true"),
        ("encrypt-node", "true"),
        ("enable-policy", "default"),
        ("bpf-lb-algorithm", "maglev"),
        ("kube-proxy-replacement", "true"),
        ("tofqdns-proxy-response-max-delay", "100ms"),
    ];
    site.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// What was given to Helm, secrets included.
pub fn values(name: &str) -> Value {
    json!({
        "cluster": {"name": name},
        "encryption": {"enabled": true, "type": "wireguard", "nodeEncryption": true},
        "kubeProxyReplacement": true,
        "loadBalancer": {"algorithm": "maglev"},
        "operator": {"replicas": 2},
        "hubble": {"relay": {"tls": {"server": {"key": "hunter2-key"}}}},
    })
}

fn workload(kind: &str, name: &str, image: &str, replicas: Option<u32>) -> Value {
    let app = if name == "cilium" { "cilium" } else { name };
    let mut spec = json!({
        "selector": {"matchLabels": {"k8s-app": app}},
        "template": {"spec": {"containers": [{
            "name": format!("{app}-agent"), "image": image, "args": ["--config-dir=/tmp/cilium/config-map"],
            "env": [{"name": "TOKEN", "value": "hunter2-env"}],
        }]}},
    });
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    json!({
        "apiVersion": "apps/v1", "kind": kind, "spec": spec,
        "metadata": {
            "name": name, "namespace": "kube-system",
            "annotations": {
                "meta.helm.sh/release-name": "cilium", "meta.helm.sh/release-namespace": "kube-system",
            },
        },
    })
}

/// A release as its Secret has it; one that is not gzipped is read as well.
fn packed(release: &Value) -> String {
    STANDARD.encode(STANDARD.encode(release.to_string()))
}

/// The objects of the release.
pub fn objects(name: &str) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": config(name),
            "metadata": {"name": "cilium-config", "namespace": "kube-system"},
        }),
        workload("DaemonSet", "cilium", "quay.io/cilium/cilium:v1.18.3", None),
        workload(
            "Deployment",
            "cilium-operator",
            "quay.io/cilium/operator-generic:v1.18.3",
            Some(2),
        ),
    ]
}

/// The Secret of a release with these values.
pub fn secret(name: &str, revision: u64, status: &str, values: &Value) -> Value {
    let document = |object: &Value| {
        let fields = object.as_object().into_iter().flatten();
        let lines: String = fields.map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("---\n# Source: cilium/templates/x.yaml\n{lines}")
    };
    let manifest: String = objects(name).iter().map(document).collect();
    let release = json!({
        "name": "cilium", "namespace": "kube-system", "version": revision,
        "info": {"status": status, "last_deployed": DEPLOYED},
        "chart": {
            "metadata": {"name": "cilium", "version": "1.18.3", "appVersion": "1.18.3"},
            "values": {
                "cluster": {"name": "default", "id": 0},
                "encryption": {"enabled": false, "type": "ipsec", "nodeEncryption": false},
                "operator": {"replicas": 2},
                "kubeProxyReplacement": "false",
                "policyEnforcementMode": "default",
                "hubble": {"relay": {"tls": {"server": {"key": ""}}}},
            },
        },
        "config": values,
        "manifest": manifest,
    });
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {
            "name": format!("sh.helm.release.v1.cilium.v{revision}"), "namespace": "kube-system",
            "labels": {"owner": "helm", "name": "cilium", "status": status, "version": revision.to_string()},
        },
        "data": {"release": packed(&release)},
    })
}

/// An object as the API server has it.
pub fn live(mut object: Value) -> Value {
    let fields: Value = object["data"]
        .as_object()
        .map(|data| data.keys().map(|key| (format!("f:{key}"), json!({}))).collect())
        .unwrap_or_default();
    object["metadata"]["managedFields"] =
        json!([{"manager": "helm", "operation": "Update", "time": DEPLOYED, "fieldsV1": {"f:data": fields}}]);
    object
}

/// What an agent shows.
pub fn printed(name: &str, query: CiliumQuery) -> Value {
    match query {
        CiliumQuery::Configuration => json!({
            "ClusterName": name, "EnableWireguard": true, "EnablePolicy": "default", "policy-enforcement": "default",
        }),
        CiliumQuery::Status => json!({
            "cilium": {"state": "Ok", "msg": "1.18.3 (v1.18.3-c1601689)"},
            "encryption": {"mode": "Wireguard", "wireguard": {"node-encryption": "Enabled"}},
            "kube-proxy-replacement": {"mode": "True", "features": {"nodePort": {"algorithm": "Maglev"}}},
        }),
        _ => Value::Null,
    }
}

fn agent_pod(node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("cilium-{node}"), "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
        "spec": {"nodeName": node, "containers": [{"name": "cilium-agent", "image": "quay.io/cilium/cilium:v1.18.3"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "cilium-agent", "state": {"running": {"startedAt": STARTED}}}],
        },
    })
}

/// A Kustomization and a source, ready.
fn flux() -> Vec<Value> {
    let ready = json!([{"type": "Ready", "status": "True", "reason": "Succeeded"}]);
    vec![
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "infrastructure", "namespace": "flux-system", "generation": 2},
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "flux-system"}},
            "status": {"observedGeneration": 2, "conditions": ready, "lastAppliedRevision": "main@sha1:aa"},
        }),
        json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": "flux-system", "namespace": "flux-system", "generation": 1},
            "status": {"observedGeneration": 1, "conditions": ready, "artifact": {"revision": "main@sha1:aa"}},
        }),
    ]
}

/// Flux's HelmRelease of Cilium, Ready, with the values that are installed.
pub fn helm_release(name: &str) -> Value {
    json!({
        "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
        "metadata": {"name": "cilium", "namespace": "kube-system", "generation": 3},
        "spec": {
            "values": values(name),
            "chartRef": {"kind": "OCIRepository", "name": "charts", "namespace": "flux-system"},
        },
        "status": {
            "observedGeneration": 3, "lastAttemptedRevision": "1.18.3+0a1b2c", "lastAttemptedConfigDigest": "sha256:aa",
            "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3}],
            "history": [{
                "name": "cilium", "namespace": "kube-system", "version": 7, "status": "deployed",
                "chartVersion": "1.18.3", "configDigest": "sha256:aa",
            }],
        },
    })
}

/// The chart's source of that HelmRelease.
pub fn charts(semver: &str) -> Value {
    json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository",
        "metadata": {"name": "charts", "namespace": "flux-system", "generation": 1},
        "spec": {"ref": {"semver": semver}},
        "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// What the files say.
pub fn git(sites: &[&str]) -> GitFacts {
    let file = |line| ClaimSource::File {
        path: "clusters/infra/cilium-values.yaml".to_owned(),
        line,
    };
    let stated = |site: &str, claim: &str, value: &str, line, config: &[(&str, &str)]| Stated {
        cluster: site.into(),
        claim: claim.to_owned(),
        value: value.to_owned(),
        source: file(line),
        config: config
            .iter()
            .map(|(key, text)| ((*key).to_owned(), Some((*text).to_owned())))
            .collect(),
    };
    let of = |site: &&str| {
        vec![
            stated(site, "cluster.name", site, 2, &[("cluster-name", site)]),
            stated(site, "encryption.enabled", "true", 5, &[("enable-wireguard", "true")]),
            stated(site, "encryption.type", "wireguard", 6, &[("enable-wireguard", "true")]),
            stated(
                site,
                "encryption.nodeEncryption",
                "true",
                7,
                &[("encrypt-node", "true")],
            ),
            stated(
                site,
                "kubeProxyReplacement",
                "true",
                8,
                &[("kube-proxy-replacement", "true")],
            ),
            stated(
                site,
                "loadBalancer.algorithm",
                "maglev",
                9,
                &[("bpf-lb-algorithm", "maglev")],
            ),
            stated(site, "operator.replicas", "2", 10, &[]),
        ]
    };
    GitFacts {
        from: "gitops".to_owned(),
        stated: sites.iter().flat_map(of).collect(),
        unshown: sites
            .iter()
            .map(|site| Unshown {
                cluster: (*site).into(),
                keys: ["hubble", "relay", "tls", "server", "key"].map(str::to_owned).into(),
                value: Hidden::new("\"hunter2-key\""),
                source: file(11),
            })
            .collect(),
        complete: sites.iter().map(|site| (*site).into()).collect(),
        pins: vec![Pin {
            clusters: Vec::new(),
            version: ">=1.18.0 <1.19.0".to_owned(),
            by: "the bootstrap".to_owned(),
            source: file(1),
        }],
    }
}

/// Everything of one cluster but its nodes' agents.
fn with_cluster(mut world: Fake, site: Site) -> Fake {
    for object in objects(site.name) {
        world = world.object(site.name, live(object));
    }
    world = world.object(site.name, secret(site.name, 6, "superseded", &json!({})));
    world = world.object(site.name, secret(site.name, 7, "deployed", &values(site.name)));
    for n in site.nodes() {
        let node = site.node(n);
        world = world.without_object(site.name, "Pod", &format!("cilium-{node}"));
        world = world.object(site.name, agent_pod(&node));
    }
    for object in flux() {
        world = world.object(site.name, object);
    }
    world
}

/// The clusters of a shape; what an agent prints is tampered with.
pub fn told(shape: Shape, tamper: impl Fn(&str, CiliumQuery, &mut Value) + Send + Sync + 'static) -> Fake {
    let mut world = Fake::of(shape);
    for site in shape.sites() {
        world = with_cluster(world, site);
    }
    let tamper = Arc::new(tamper);
    let of_status = Arc::clone(&tamper);
    let world = world.status(move |cluster, node, status| {
        *status = printed(cluster, CiliumQuery::Status);
        of_status(node, CiliumQuery::Status, status);
    });
    world.policies(move |node, query| {
        let mut value = printed(node.split('-').next().unwrap_or_default(), query);
        tamper(node, query, &mut value);
        value
    })
}

/// Healthy clusters of a shape, of which the run was given the files.
pub fn healthy(shape: Shape) -> Fake {
    let names: Vec<&str> = shape.sites().iter().map(|site| site.name).collect();
    told(shape, |_, _, _| {}).facts(|facts| facts.git = Some(git(&names)))
}

/// The same as an environment.
pub fn world(shape: Shape) -> Arc<dyn Environment> {
    Arc::new(healthy(shape))
}
