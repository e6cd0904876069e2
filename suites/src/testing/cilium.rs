//! Cilium's answers, as recorded from 1.18.3.

use super::{
    Fake,
    fake::{Cilium, Tamper},
    topology::{Shape, Site},
};
use meshproof_contract::{CiliumAnswer, CiliumQuery, ClusterName, EnvironmentError, NodeName};
use serde_json::{Value, json};

/// What is reported of the other clusters than this.
fn remotes(shape: Shape, cluster: &str) -> Vec<Value> {
    let others = shape.sites().into_iter().filter(|site| site.name != cluster);
    others.map(remote).collect()
}

fn remote(site: Site) -> Value {
    let (id, name, nodes) = (site.id, site.name, site.nodes().count());
    json!({
        "config": {
            "cluster-id": id, "kvstoremesh": true, "required": true, "retrieved": true,
            "service-exports-enabled": false, "sync-canaries": true,
        },
        "connected": true, "last-failure": "0001-01-01T00:00:00.000Z", "name": name,
        "num-endpoints": 11, "num-identities": 11,
        "num-nodes": nodes, "num-shared-services": 1, "ready": true,
        "status": "etcd: 1/1 connected, leases=0, lock leases=0, has-quorum=true: endpoint status checks are disabled",
        "synced": {"endpoints": true, "identities": true, "nodes": true, "services": true},
    })
}

impl Fake {
    pub(super) fn ask_cilium(
        &self,
        cluster: &ClusterName,
        query: CiliumQuery,
    ) -> Result<Vec<CiliumAnswer>, EnvironmentError> {
        let api_error = |reason: &str| EnvironmentError::Api {
            cluster: cluster.clone(),
            operation: "exec".to_owned(),
            reason: reason.to_owned(),
        };
        match self.cilium {
            Cilium::Refused => return Err(api_error("pods/exec is forbidden")),
            Cilium::Silent => return Ok(Vec::new()),
            _ => {}
        }
        let remotes = || remotes(self.shape, cluster.as_str());
        let others = self.shape.others(cluster.as_str());
        let troubleshoot = || {
            let texts = others.iter().map(|other| troubleshoot(other, cluster.as_str()));
            Value::String(texts.collect())
        };
        let answer = |node: &NodeName, pod: String, mut value: Value, tampers: &[Tamper]| {
            for tamper in tampers {
                tamper(cluster.as_str(), node.as_str(), &mut value);
            }
            let output = match self.cilium {
                Cilium::ErrorOn(at) if at == node.as_str() => Err(api_error("i/o timeout")),
                Cilium::HangsOn(at) if at == node.as_str() => Err(EnvironmentError::Deadline {
                    cluster: cluster.clone(),
                    operation: "run `cilium-dbg status -o json`".to_owned(),
                    seconds: 30,
                    last: "no output".to_owned(),
                }),
                _ => Ok(value),
            };
            CiliumAnswer {
                pod,
                node: node.clone(),
                output,
            }
        };
        let nodes = self.facts.cluster(cluster).into_iter().flat_map(|c| &c.nodes);
        let nodes = nodes.filter(|n| !matches!(self.cilium, Cilium::NotOn(at) if at == n.name.as_str()));
        Ok(match query {
            CiliumQuery::Status => nodes
                .map(|node| {
                    let mesh = json!({"clusters": remotes(), "num-global-services": 1});
                    let controllers = json!([{"name": "k8s-heartbeat", "status": {"success-count": 7}}]);
                    let status = json!({"cilium": {"state": "Ok"}, "cluster-mesh": mesh, "controllers": controllers});
                    answer(&node.name, format!("cilium-{}", node.name), status, &self.status)
                })
                .collect(),
            CiliumQuery::KvstoreMesh => nodes
                .take(1)
                .map(|node| {
                    let pod = "clustermesh-apiserver-x".to_owned();
                    answer(&node.name, pod, json!(remotes()), &self.kvstoremesh)
                })
                .collect(),
            CiliumQuery::Troubleshoot => nodes
                .map(|node| {
                    let text = troubleshoot();
                    answer(&node.name, format!("cilium-{}", node.name), text, &self.troubleshoot)
                })
                .collect(),
            CiliumQuery::TroubleshootKvstoreMesh => nodes
                .take(1)
                .map(|node| {
                    let text = troubleshoot();
                    answer(
                        &node.name,
                        "clustermesh-apiserver-x".to_owned(),
                        text,
                        &self.troubleshoot,
                    )
                })
                .collect(),
            CiliumQuery::Nodes => {
                let of = |other: &&str| {
                    let name = (*other).into();
                    let nodes = self.facts.cluster(&name).into_iter().flat_map(|c| &c.nodes);
                    let named =
                        nodes.map(|node| json!({"name": format!("{other}/{}", node.name), "source": "clustermesh"}));
                    named.collect::<Vec<_>>()
                };
                let known: Vec<Value> = others.iter().flat_map(of).collect();
                nodes
                    .map(|node| answer(&node.name, format!("cilium-{}", node.name), json!(known), &self.nodes))
                    .collect()
            }
            query => nodes
                .filter_map(|node| {
                    let value = self.policies.as_ref()?(node.name.as_str(), query);
                    Some(answer(&node.name, format!("cilium-{}", node.name), value, &[]))
                })
                .collect(),
        })
    }
}

fn troubleshoot(remote: &str, own: &str) -> String {
    let certificate = |subject: &str| {
        format!(
            "Subject: CN={subject}\n  Not before:  2026-01-01 09:14:23 +0000 UTC\n  Not after:   2099-11-20 09:14:23 \
             +0000 UTC\n"
        )
    };
    format!(
        "Cluster \"{remote}\":\n  - https://x:2379\n  ✅ TLS connection successfully established to \
         10.96.9.202:2379\n{}{}",
        certificate("Cilium CA"),
        certificate(&format!("local-{own}"))
    )
}
