//! Nodes that pretend: they give every workload its pods, make them ready, end them, and answer for their agents.

use async_trait::async_trait;
use meshproof_apiserver::{
    Admission, AdmissionRequest, ApiError, DeleteOptions, Duplex, Exec, ExitStatus, LogOptions, Object, Reader, Store,
    Streams, WatchOptions,
    resource::names::{DAEMON_SETS, DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS, SERVICES},
};
use meshproof_contract::{Identity, Outcome};
use meshproof_wire::{Answer, Command, Hello, PROTOCOL, Request, Response, read_frame, write_frame};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    task::JoinSet,
};

/// What is wrong with the nodes.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Pods of this node never get their image.
    pub without_image: Option<String>,
    /// This node's kubelet ends no pod.
    pub dead: Option<String>,
    pub port_forward: Way,
    pub protocol: u32,
    /// The agent of this pod ends its stream after each answer.
    pub hangs_up: bool,
    pub cilium: CiliumImage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Fails every time, as through a broken kubelet.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CiliumImage {
    /// Has `cilium-dbg`.
    Current,
    /// Has `cilium` only.
    Old,
    /// Prints nothing and exits 0.
    Mute,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            without_image: None,
            dead: None,
            port_forward: Way::Open,
            protocol: PROTOCOL,
            hangs_up: false,
            cilium: CiliumImage::Current,
        }
    }
}

pub struct Kubelet {
    cluster: String,
    knobs: Arc<Mutex<Knobs>>,
    _tasks: JoinSet<()>,
}

impl Kubelet {
    pub fn start(store: Store, cluster: &str, knobs: Arc<Mutex<Knobs>>) -> Self {
        let mut tasks = JoinSet::new();
        for resource in [DAEMON_SETS, DEPLOYMENTS] {
            let (store, knobs) = (store.clone(), knobs.clone());
            tasks.spawn(async move {
                let mut watch = store.watch(&resource, None, WatchOptions::default()).expect("a watch");
                while let Some(event) = watch.next().await {
                    if let Some(owner) = event.object().filter(|_| event.kind() == "ADDED") {
                        let without = knobs.lock().expect("knobs").without_image.clone();
                        give_pods(&store, owner, without.as_deref());
                    }
                }
            });
        }
        let services = store.clone();
        tasks.spawn(async move {
            let mut watch = services
                .watch(&SERVICES, None, WatchOptions::default())
                .expect("a watch");
            while let Some(event) = watch.next().await {
                let namespace = event.object().and_then(|s| s.namespace().map(str::to_owned));
                for pod in services.all(&PODS, namespace.as_deref()) {
                    publish(&services, &pod);
                }
            }
        });
        let own = knobs.clone();
        tasks.spawn(async move {
            let mut watch = store.watch(&PODS, None, WatchOptions::default()).expect("a watch");
            while let Some(event) = watch.next().await {
                if let Some(pod) = event.object().filter(|_| event.kind() == "MODIFIED") {
                    publish(&store, pod);
                }
                if let Some(pod) = event
                    .object()
                    .filter(|p| p.is_terminating() && event.kind() == "MODIFIED")
                    .filter(|p| own.lock().expect("knobs").dead.as_deref() != p["spec"]["nodeName"].as_str())
                {
                    let _ = store.delete(&PODS, pod.namespace(), pod.name(), &DeleteOptions::now());
                }
            }
        });
        Self {
            cluster: cluster.to_owned(),
            knobs,
            _tasks: tasks,
        }
    }

    pub fn streams(&self) -> Agents {
        Agents {
            cluster: self.cluster.clone(),
            knobs: self.knobs.clone(),
        }
    }
}

fn give_pods(store: &Store, owner: &Object, without_image: Option<&str>) {
    let nodes: Vec<String> = store.all(&NODES, None).iter().map(|n| n.name().to_owned()).collect();
    let is_set = owner["kind"] == "DaemonSet";
    let count = if is_set {
        nodes.len()
    } else {
        owner["spec"]["replicas"].as_u64().unwrap_or(1) as usize
    };
    for n in 0..count {
        let node = &nodes[n % nodes.len()];
        let mut pod = owner["spec"]["template"].clone();
        pod["metadata"]["name"] = json!(format!("{}-{n}", owner.name()));
        pod["metadata"]["namespace"] = json!(owner.namespace());
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": owner["kind"], "name": owner.name(), "uid": owner.uid(),
            "controller": true,
        }]);
        pod["spec"]["nodeName"] = json!(node);
        if Some(node.as_str()) == without_image {
            stuck_pod(store, pod);
        } else {
            run_pod(store, pod, &format!("10.0.{}.{}", n + 1, owner.name().len()));
        }
    }
    if is_set {
        let _ = store.modify_status(&DAEMON_SETS, owner.namespace(), owner.name(), |set| {
            set["status"] = json!({
                "desiredNumberScheduled": count, "currentNumberScheduled": count, "numberMisscheduled": 0,
                "numberReady": 0, "observedGeneration": set["metadata"]["generation"],
            });
        });
    }
}

/// The endpoint of a pod in each Service that selects it, a slice of its own each.
fn publish(store: &Store, pod: &Object) {
    if pod["status"]["phase"] != "Running" {
        return;
    }
    for service in store.all(&SERVICES, pod.namespace()) {
        let Some(selector) = service["spec"]["selector"].as_object() else {
            continue;
        };
        if !selector.iter().all(|(key, value)| pod.label(key) == value.as_str()) {
            continue;
        }
        let slice = json!({
            "metadata": {
                "name": format!("{}-{}", service.name(), pod.name()), "namespace": pod.namespace(),
                "labels": {"kubernetes.io/service-name": service.name()},
            },
            "addressType": "IPv4", "ports": [],
            "endpoints": [{
                "addresses": [pod["status"]["podIP"]], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": pod.name()},
            }],
        });
        // There is one already after the first change.
        let _ = store.create(&ENDPOINT_SLICES, slice);
    }
}

/// Gives every Service that wants one an address, as an API server does.
pub struct Addresses;

impl Admission for Addresses {
    fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        if request.resource.plural == "services" && request.object["spec"]["clusterIP"].is_null() {
            let taken = request.store.all(&SERVICES, None).len();
            request.object["spec"]["clusterIP"] = json!(format!("10.96.1.{}", taken + 1));
        }
        Ok(())
    }
}

/// A pod that is ready at once.
pub fn run_pod(store: &Store, pod: Value, address: &str) {
    // Nobody opens a gate.
    let ready = if pod["spec"]["readinessGates"].is_null() {
        "True"
    } else {
        "False"
    };
    let status = json!({
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": "True"}],
        "containerStatuses": [{
            "name": "agent", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}},
        }],
    });
    create(store, pod, status);
}

fn stuck_pod(store: &Store, pod: Value) {
    let waiting = json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image"});
    let status = json!({
        "phase": "Pending",
        "containerStatuses": [{
            "name": "agent", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": waiting},
        }],
    });
    create(store, pod, status);
}

fn create(store: &Store, pod: Value, status: Value) {
    let created = match store.create(&PODS, pod) {
        Ok(created) => created,
        Err(error) => return eprintln!("a pod was refused: {error}"),
    };
    let _ = store.modify_status(&PODS, created.namespace(), created.name(), |pod| pod["status"] = status);
}

/// The streams of the pods: agents and Cilium.
pub struct Agents {
    cluster: String,
    knobs: Arc<Mutex<Knobs>>,
}

impl Agents {
    fn knobs(&self) -> Knobs {
        self.knobs.lock().expect("knobs").clone()
    }
    fn identity(&self, pod: &Object) -> Identity {
        Identity {
            cluster: self.cluster.clone(),
            node: pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned(),
            namespace: pod.namespace().unwrap_or_default().to_owned(),
            pod: pod.name().to_owned(),
        }
    }
}

#[async_trait]
impl Streams for Agents {
    async fn exec(&self, mut exec: Exec) -> Result<ExitStatus, ApiError> {
        let argv: Vec<&str> = exec.argv.iter().map(String::as_str).collect();
        let knobs = self.knobs();
        let mut out = exec.stdout.take().expect("stdout");
        let missing = |command: &str| {
            Ok(ExitStatus::Failed(format!(
                "exec failed: \"{command}\": executable file not found in $PATH"
            )))
        };
        match argv.as_slice() {
            ["/meshproof-agent", "control"] => {
                let mut input = exec.stdin.take().expect("stdin");
                serve(&mut input, &mut out, self.identity(&exec.pod), &knobs).await;
                Ok(ExitStatus::Code(0))
            }
            ["cilium-dbg", ..] if knobs.cilium == CiliumImage::Old => missing("cilium-dbg"),
            ["cilium", ..] if knobs.cilium == CiliumImage::Current => missing("cilium"),
            ["cilium-dbg" | "cilium", "status", ..] if knobs.cilium != CiliumImage::Mute => {
                let status = json!({"cilium": {"state": "Ok", "msg": "1.18.3 (v1.18.3-e4a9ed77)"}, "asked": argv[0]});
                let _ = out.write_all(status.to_string().as_bytes()).await;
                Ok(ExitStatus::Code(0))
            }
            ["cilium-dbg", "policy", ..] => {
                let _ = out.write_all(b"Error: no such thing").await;
                Ok(ExitStatus::Code(1))
            }
            ["clustermesh-apiserver", "kvstoremesh-dbg", ..] => {
                let _ = out.write_all(b"[]").await;
                Ok(ExitStatus::Code(0))
            }
            _ => Ok(ExitStatus::Code(0)),
        }
    }

    async fn port_forward(&self, pod: &Object, port: u16) -> Result<Duplex, ApiError> {
        let knobs = self.knobs();
        if knobs.port_forward == Way::Broken {
            return Err(ApiError::internal("error dialing backend: no route"));
        }
        let host = pod["spec"]["hostNetwork"] == json!(true);
        assert_eq!(
            port,
            if host { 28079 } else { 8079 },
            "the control port of {}",
            pod.name()
        );
        let (near, far) = tokio::io::duplex(64 << 10);
        let identity = self.identity(pod);
        tokio::spawn(async move {
            let (mut input, mut output) = tokio::io::split(far);
            serve(&mut input, &mut output, identity, &knobs).await;
        });
        Ok(Box::pin(near))
    }

    async fn logs(&self, _: &Object, _: &str, _: LogOptions) -> Result<Reader, ApiError> {
        Ok(Box::pin(tokio::io::empty()))
    }
}

/// An agent that answers every probe with its own name.
async fn serve(
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
    identity: Identity,
    knobs: &Knobs,
) {
    let hello = Hello {
        protocol: knobs.protocol,
        version: "test".into(),
        identity: identity.clone(),
        nameservers: vec!["10.96.0.10".into()],
        search: vec!["meshproof.svc.cluster.local".into(), "svc.cluster.local".into()],
    };
    if write_frame(output, &hello).await.is_err() {
        return;
    }
    while let Ok(Some(Request { id, command })) = read_frame(input).await {
        let answer = match command {
            Command::Batch { probes } => Answer::Outcomes {
                outcomes: probes
                    .iter()
                    .map(|_| Outcome::LocalError {
                        reason: identity.to_string(),
                    })
                    .collect(),
            },
            _ => Answer::Done,
        };
        if write_frame(output, &Response { id, answer }).await.is_err() || knobs.hangs_up {
            return;
        }
    }
}
