//! A lab with pods to write policies about: in both clusters, in namespace `test`, DaemonSets `server` (with named
//! ports), `client` and `other`; and in namespace `beyond` another `client`.

use crate::client::{Result, address, client, converse, eventually, is_ready, name, text};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Pod},
};
use kube::{
    Client,
    api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams},
};
use meshproof_contract::{Action, Outcome, Probe, Target};
use meshproof_lab::{AGENT_IMAGE, LabOptions, RunningLab, launch};
use meshproof_wire::{Answer, Command, Hello};
use serde_json::{Value, json};
use std::time::Duration;

pub struct World {
    pub lab: RunningLab,
    pub infra: Client,
    pub apps: Client,
}

/// A pod to probe from.
#[derive(Clone)]
pub struct From {
    client: Client,
    pod: Pod,
}

impl World {
    pub async fn start() -> Result<Self> {
        let lab = launch(LabOptions::default()).await.map_err(text)?;
        let (infra, apps) = (
            client(lab.kubeconfig(), "infra").await?,
            client(lab.kubeconfig(), "apps").await?,
        );
        for (client, cluster) in [(&infra, "infra"), (&apps, "apps")] {
            for namespace in ["test", "beyond"] {
                let object = json!({"metadata": {"name": namespace, "labels": {"team": namespace}}});
                let object: Namespace = serde_json::from_value(object).map_err(text)?;
                Api::<Namespace>::all(client.clone())
                    .create(&PostParams::default(), &object)
                    .await
                    .map_err(text)?;
            }
            for (namespace, app) in [
                ("test", "server"),
                ("test", "client"),
                ("test", "other"),
                ("beyond", "client"),
            ] {
                let set: DaemonSet = serde_json::from_value(daemon_set(cluster, namespace, app)).map_err(text)?;
                let api = Api::<DaemonSet>::namespaced(client.clone(), namespace);
                api.create(&PostParams::default(), &set).await.map_err(text)?;
            }
        }
        for client in [&infra, &apps] {
            for (namespace, app) in [
                ("test", "server"),
                ("test", "client"),
                ("test", "other"),
                ("beyond", "client"),
            ] {
                pods(client, namespace, app).await?;
            }
        }
        Ok(Self { lab, infra, apps })
    }

    pub async fn end(self) -> Result<()> {
        self.lab.shutdown().await.map_err(text)
    }

    /// The pod of a DaemonSet on the first node of a cluster.
    pub async fn first(&self, cluster: &str, namespace: &str, app: &str) -> Result<From> {
        let client = if cluster == "infra" { &self.infra } else { &self.apps };
        let mut pods = pods(client, namespace, app).await?;
        pods.sort_by_key(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
        Ok(From {
            client: client.clone(),
            pod: pods.swap_remove(0),
        })
    }
}

impl From {
    pub fn address(&self) -> String {
        address(&self.pod)
    }

    pub fn node_address(&self) -> String {
        self.pod
            .status
            .as_ref()
            .and_then(|status| status.host_ip.clone())
            .unwrap_or_default()
    }

    /// The outcomes of probes, all at once.
    pub async fn probe(&self, actions: Vec<Action>) -> Result<Vec<Outcome>> {
        let probes = actions
            .into_iter()
            .map(|action| Probe::once(action, Duration::from_millis(700)))
            .collect();
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let port = meshproof_contract::port::CONTROL;
        let mut forward = pods.portforward(name(&self.pod), &[port]).await.map_err(text)?;
        let mut stream = forward.take_stream(port).ok_or("no stream")?;
        let answer: (Hello, Answer) = converse(&mut stream, Command::Batch { probes }).await?;
        match answer.1 {
            Answer::Outcomes { outcomes } => Ok(outcomes),
            other => Err(format!("the agent answered {other:?}")),
        }
    }

    /// Waits until probes end as wanted: `true` for answered, `false` for silence.
    pub async fn eventually(&self, what: &str, actions: &[Action], wanted: &[bool]) -> Result<()> {
        let look = || async {
            let seen = self.probe(actions.to_vec()).await?;
            let fits = seen.iter().zip(wanted).all(|(outcome, wanted)| {
                if *wanted {
                    answered(outcome)
                } else {
                    matches!(outcome, Outcome::Timeout { .. })
                }
            });
            if fits { Ok(()) } else { Err(format!("{seen:#?}")) }
        };
        eventually(what, look).await
    }
}

pub fn answered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { .. })
}

pub fn tcp(to: &str, port: u16) -> Action {
    Action::TcpConnect {
        to: Target::new(to, port),
    }
}

pub fn udp(to: &str) -> Action {
    Action::UdpEcho {
        to: Target::new(to, meshproof_contract::port::UDP),
        payload: 64,
    }
}

pub fn ping(to: &str) -> Action {
    Action::IcmpEcho {
        to: to.parse().expect("an address"),
        payload: 32,
    }
}

fn api(client: &Client, policy: &Value) -> Result<Api<DynamicObject>> {
    let kind = policy["kind"].as_str().unwrap_or_default();
    let (group, version, plural) = match kind {
        "NetworkPolicy" => ("networking.k8s.io", "v1", "networkpolicies"),
        "CiliumNetworkPolicy" => ("cilium.io", "v2", "ciliumnetworkpolicies"),
        _ => ("cilium.io", "v2", "ciliumclusterwidenetworkpolicies"),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Ok(match policy["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

pub async fn create(client: &Client, policy: &Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(policy.clone()).map_err(text)?;
    api(client, policy)?
        .create(&PostParams::default(), &object)
        .await
        .map_err(text)
}

pub async fn get(client: &Client, policy: &Value) -> Result<Value> {
    let name = policy["metadata"]["name"].as_str().unwrap_or_default();
    let object = api(client, policy)?.get(name).await.map_err(text)?;
    serde_json::to_value(object).map_err(text)
}

pub async fn delete(client: &Client, policy: &Value) -> Result<()> {
    let name = policy["metadata"]["name"].as_str().unwrap_or_default();
    api(client, policy)?
        .delete(name, &DeleteParams::default())
        .await
        .map_err(text)?;
    Ok(())
}

/// A CiliumNetworkPolicy of namespace `test` for the servers.
pub fn for_servers(name: &str, rest: Value) -> Value {
    let mut spec = json!({"endpointSelector": {"matchLabels": {"app": "server"}}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": {"name": name, "namespace": "test"}, "spec": spec,
    })
}

async fn pods(client: &Client, namespace: &str, app: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    eventually("agents are ready", || async {
        let found = pods
            .list(&ListParams::default().labels(&format!("app={app}")))
            .await
            .map_err(text)?
            .items;
        if found.len() == 3 && found.iter().all(is_ready) {
            Ok(found)
        } else {
            Err(format!("{} pods", found.len()))
        }
    })
    .await
}

fn daemon_set(cluster: &str, namespace: &str, app: &str) -> Value {
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let port =
        |name: &str, number: u16, protocol: &str| json!({"name": name, "containerPort": number, "protocol": protocol});
    json!({
        "metadata": {"name": app, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "securityContext": {"sysctls": [{"name": "net.ipv4.ping_group_range", "value": "0 2147483647"}]},
                "containers": [{
                    "name": "agent", "image": AGENT_IMAGE, "command": ["meshproof-agent"],
                    "ports": [port("http", 8080, "TCP"), port("echo", 8081, "TCP")],
                    "env": [
                        {"name": "MESHPROOF_CLUSTER", "value": cluster},
                        {"name": "MESHPROOF_NODE", "valueFrom": field("spec.nodeName")},
                        {"name": "MESHPROOF_NAMESPACE", "valueFrom": field("metadata.namespace")},
                        {"name": "MESHPROOF_POD", "valueFrom": field("metadata.name")},
                    ],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
                }],
            }},
        },
    })
}
