//! Secrets: certificates, and where the other clusters' etcd is.

use super::{
    certificate::{Authority, CertificateError},
    meta,
    workload::mesh_node_port,
};
use crate::topology::{ClusterSpec, Topology};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

pub(super) fn secrets(topology: &Topology, cluster: &ClusterSpec) -> Result<Vec<Value>, CertificateError> {
    let authority = Authority::new()?;
    let name = &cluster.name;
    let tls = |secret: &str, common_name: &str, hosts: &[&str]| {
        let signed = authority.sign(common_name, hosts)?;
        let data = json!({
            "ca.crt": encoded(&authority.certificate),
            "tls.crt": encoded(&signed.certificate),
            "tls.key": encoded(&signed.key),
        });
        Ok(object(secret, "kubernetes.io/tls", data))
    };
    let ca = json!({"ca.crt": encoded(&authority.certificate), "ca.key": encoded(&authority.key)});
    let others = || topology.clusters.iter().filter(|other| other.name != *name);
    let local: Map<_, _> = others().map(|other| (other.name.clone(), local_etcd())).collect();
    let remote: Map<_, _> = others().map(|other| (other.name.clone(), remote_etcd(other))).collect();
    let mesh_hosts = ["clustermesh-apiserver.kube-system.svc", "*.mesh.cilium.io"];
    Ok(vec![
        object("cilium-ca", "Opaque", ca),
        object("cilium-clustermesh", "Opaque", Value::Object(local)),
        object("cilium-kvstoremesh", "Opaque", Value::Object(remote)),
        tls(
            "clustermesh-apiserver-admin-cert",
            &format!("admin-{name}"),
            &["localhost"],
        )?,
        tls("clustermesh-apiserver-local-cert", &format!("local-{name}"), &[])?,
        tls("clustermesh-apiserver-remote-cert", &format!("remote-{name}"), &[])?,
        tls(
            "clustermesh-apiserver-server-cert",
            "clustermesh-apiserver.cilium.io",
            &mesh_hosts,
        )?,
        tls(
            "hubble-relay-client-certs",
            "*.hubble-relay.cilium.io",
            &["*.hubble-relay.cilium.io"],
        )?,
        tls(
            "hubble-server-certs",
            &format!("*.{name}.hubble-grpc.cilium.io"),
            &[&format!("*.{name}.hubble-grpc.cilium.io")],
        )?,
    ])
}

fn object(name: &str, kind: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": meta(name, json!({})), "data": data})
}

pub(super) fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// With KVStoreMesh, agents ask their own cluster for every other one.
fn local_etcd() -> Value {
    etcd(
        "https://clustermesh-apiserver.kube-system.svc:2379",
        "local-etcd-client",
    )
}

fn remote_etcd(other: &ClusterSpec) -> Value {
    etcd(
        &format!("https://{}.mesh.cilium.io:{}", other.name, mesh_node_port(other)),
        "common-etcd-client",
    )
}

fn etcd(endpoint: &str, client: &str) -> Value {
    let directory = "/var/lib/cilium/clustermesh";
    Value::String(encoded(&format!(
        "endpoints:\n- {endpoint}\ntrusted-ca-file: {directory}/{client}-ca.crt\nkey-file: \
         {directory}/{client}.key\ncert-file: {directory}/{client}.crt\n"
    )))
}
