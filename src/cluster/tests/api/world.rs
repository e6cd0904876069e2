//! Clusters for a test: API servers on loopback, two nodes each, and a kubeconfig for them.

use crate::kubelet::{Addresses, Knobs, Kubelet};
use meshproof_apiserver::{
    KubeContext, Server, ServerOptions, Store, User, kubeconfig,
    resource::names::{CONFIG_MAPS, NAMESPACES, NODES, SECRETS},
};
use meshproof_cluster::{
    ContextError, Contexts, DeployOptions, DisruptionOptions, Image, ProgressSink, PullPolicy, Role,
};
use meshproof_contract::Event;
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

pub struct World {
    pub clusters: Vec<Cluster>,
    folder: tempfile::TempDir,
}

pub struct Cluster {
    pub name: String,
    pub store: Store,
    pub server: Server,
    pub knobs: Arc<Mutex<Knobs>>,
    _kubelet: Kubelet,
}

impl World {
    pub fn start(names: &[&str]) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        Self {
            clusters: names.iter().map(|name| Cluster::start(name)).collect(),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub fn cluster(&self, name: &str) -> &Cluster {
        self.clusters
            .iter()
            .find(|c| c.name == name)
            .expect("a cluster of that name")
    }

    /// A kubeconfig in which everybody is an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_as(|cluster| cluster.server.tokens().issue(User::admin("root"), None))
    }

    /// A kubeconfig with the token that `token` gives for each cluster.
    pub fn kubeconfig_as(&self, token: impl Fn(&Cluster) -> String) -> PathBuf {
        let contexts: Vec<_> = self
            .clusters
            .iter()
            .map(|cluster| KubeContext {
                name: cluster.name.clone(),
                server: cluster.server.url(),
                ca_pem: cluster.server.ca_pem().to_owned(),
                token: token(cluster),
                namespace: None,
            })
            .collect();
        self.write(&kubeconfig(&contexts))
    }

    pub fn write(&self, text: &str) -> PathBuf {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.folder.path().join(format!("kubeconfig-{number}"));
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A context of each cluster's name plays the role of that name.
    pub fn roles(&self) -> Vec<Role> {
        let role = |c: &Cluster| Role {
            cluster: c.name.as_str().into(),
            context: c.name.clone(),
        };
        self.clusters.iter().map(role).collect()
    }

    pub async fn connect(&self) -> Result<Contexts, ContextError> {
        self.connect_with(self.kubeconfig()).await
    }

    pub async fn connect_with(&self, kubeconfig: PathBuf) -> Result<Contexts, ContextError> {
        Contexts::connect(&self.roles(), Some(kubeconfig), &ProgressSink::silent()).await
    }
}

impl Cluster {
    fn start(name: &str) -> Self {
        let store = Store::builder().admission(Addresses).build();
        for n in 1..=2 {
            let node = json!({
                "metadata": {"name": format!("{name}-{n}")},
                "spec": {"podCIDRs": [format!("10.0.{n}.0/24")]},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": format!("192.0.2.{n}")}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "nodeInfo": {"kernelVersion": "6.18.5"},
                },
            });
            store.create(&NODES, node.clone()).expect("a node");
            let name = node["metadata"]["name"].as_str().expect("a name").to_owned();
            let status = node["status"].clone();
            store
                .modify_status(&NODES, None, &name, |found| found["status"] = status)
                .expect("its status");
        }
        let knobs = Arc::new(Mutex::new(Knobs::default()));
        let kubelet = Kubelet::start(store.clone(), name, knobs.clone());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Server::start(
            listener,
            store.clone(),
            Arc::new(kubelet.streams()),
            ServerOptions::default(),
        )
        .expect("a server");
        Self {
            name: name.to_owned(),
            store,
            server,
            knobs,
            _kubelet: kubelet,
        }
    }

    /// What a Cilium installation shows, in a namespace of its own choice.
    pub fn install_cilium(&self, namespace: &str, remote: &str) {
        if self.store.find(&NAMESPACES, None, namespace).is_none() {
            let object = json!({"metadata": {"name": namespace}});
            self.store.create(&NAMESPACES, object).expect("a namespace");
        }
        let config = json!({
            "metadata": {"name": "cilium-config", "namespace": namespace},
            "data": {"cluster-name": self.name, "enable-wireguard": "true", "enable-policy": "default"},
        });
        self.store.create(&CONFIG_MAPS, config).expect("a ConfigMap");
        // base64 of "endpoints:\n" and of "PEM".
        let secret = json!({
            "metadata": {"name": "cilium-clustermesh", "namespace": namespace},
            "data": {remote: "ZW5kcG9pbnRzOgo=", "common-etcd-client-ca.crt": "UEVN"},
        });
        self.store.create(&SECRETS, secret).expect("a Secret");
        for n in 1..=2 {
            self.pod(
                namespace,
                &format!("cilium-{n}"),
                &format!("{}-{n}", self.name),
                json!({"k8s-app": "cilium"}),
                &[("cilium-agent", "quay.io/cilium/cilium:v1.18.3")],
            );
        }
        self.pod(
            namespace,
            "clustermesh-apiserver-x",
            &format!("{}-1", self.name),
            json!({"k8s-app": "clustermesh-apiserver"}),
            &[("etcd", "e"), ("apiserver", "a"), ("kvstoremesh", "k")],
        );
    }

    fn pod(&self, namespace: &str, name: &str, node: &str, labels: Value, containers: &[(&str, &str)]) {
        let containers: Vec<_> = containers
            .iter()
            .map(|(name, image)| json!({"name": name, "image": image}))
            .collect();
        crate::kubelet::run_pod(
            &self.store,
            json!({
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"nodeName": node, "containers": containers},
            }),
            "192.0.2.1",
        );
    }

    pub fn has_namespace(&self, name: &str) -> bool {
        self.store.find(&NAMESPACES, None, name).is_some()
    }
}

pub fn options() -> DeployOptions {
    DeployOptions {
        image: Image {
            reference: "registry.example/agent:1".into(),
            pull: PullPolicy::IfNotPresent,
            credentials: None,
        },
        ready_within: Some(Duration::from_secs(10)),
        disruption: DisruptionOptions::default(),
    }
}

/// Progress that is kept.
#[derive(Clone, Default)]
pub struct Recorded(Arc<Mutex<Vec<String>>>);

impl Recorded {
    pub fn progress(&self) -> ProgressSink {
        let kept = self.0.clone();
        ProgressSink::new(move |event| {
            let text = match event {
                Event::Waiting { what } => what,
                Event::Warning { message } => format!("warning: {message}"),
                other => format!("{other:?}"),
            };
            kept.lock().expect("not poisoned").push(text);
        })
    }
    pub fn all(&self) -> String {
        self.0.lock().expect("not poisoned").join("\n")
    }
}
