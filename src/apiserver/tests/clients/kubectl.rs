//! kubectl, where it is installed.

use super::fake;
use meshproof_apiserver::{KubeContext, Server, Store, User, kubeconfig};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

/// What kubectl carries exec and port-forward with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    WebSocket,
    /// As kubectl up to 1.30 and other programs with client-go do.
    Spdy,
}

/// A server, and the way to call kubectl against it. Multi-threaded tests only: kubectl blocks its caller.
struct Kubectl {
    transport: Transport,
    folder: tempfile::TempDir,
    server: Server,
    _store: Store,
}

impl Kubectl {
    /// None, with the reason printed, where kubectl is not installed.
    fn new() -> Option<Self> {
        if let Err(error) = Command::new("kubectl").args(["version", "--client"]).output() {
            eprintln!("skipped: kubectl cannot be started: {error}");
            return None;
        }
        let (server, store) = fake::start();
        let folder = tempfile::tempdir().expect("a folder");
        let config = kubeconfig(&[KubeContext {
            name: "test".to_owned(),
            server: server.url(),
            ca_pem: server.ca_pem().to_owned(),
            token: server.tokens().issue(User::admin("admin"), None),
            namespace: None,
        }]);
        std::fs::write(folder.path().join("kubeconfig"), config).expect("written");
        Some(Self {
            transport: Transport::WebSocket,
            folder,
            server,
            _store: store,
        })
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        // Its cache of discovery must not outlive the server.
        command
            .arg("--kubeconfig")
            .arg(self.path("kubeconfig"))
            .arg("--cache-dir")
            .arg(self.path("cache"));
        if self.transport == Transport::Spdy {
            command
                .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
                .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        command.args(arguments.split_whitespace());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().expect("kubectl runs")
    }

    /// What it prints; panics when it fails.
    fn ok(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments} failed: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What it complains about; panics when it succeeds.
    fn fails(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "kubectl {arguments} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

/// Ends the process however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: main, image: 'shop:1', ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_gets_and_describes() {
    let Some(kubectl) = Kubectl::new() else { return };
    let pods = kubectl.ok("get pods -o wide");
    let heads: Vec<&str> = pods.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads[..7], ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]);
    assert!(pods.contains("web") && pods.contains("1/1") && pods.contains("10.1.0.5") && pods.contains("node-1"));
    let nodes = kubectl.ok("get nodes");
    assert!(
        nodes.contains("Ready") && nodes.contains("worker") && nodes.contains("v1.33.6"),
        "{nodes}"
    );
    assert!(
        kubectl
            .ok("get po,ns,cm,svc,deploy,ds,rs,sts,ep,endpointslices,leases,events -A")
            .contains("pod/web")
    );
    assert!(kubectl.ok("describe pod web").contains("QoS Class:"));
    assert!(kubectl.ok("api-resources").contains("customresourcedefinitions"));
    assert_eq!(kubectl.ok("get pod web -o jsonpath={.spec.nodeName}"), "node-1");
    assert!(kubectl.fails("get pod absent").contains("pods \"absent\" not found"));
    assert!(kubectl.ok("explain deployment").contains("apps"));
    kubectl.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_writes() {
    let Some(kubectl) = Kubectl::new() else { return };
    let file = kubectl.file("shop.yaml", DEPLOYMENT);
    assert!(
        kubectl
            .ok(&format!("apply -f {file}"))
            .contains("deployment.apps/shop created")
    );
    assert!(
        kubectl
            .ok(&format!("apply -f {file}"))
            .contains("deployment.apps/shop unchanged")
    );
    let newer = kubectl.file("shop.yaml", &DEPLOYMENT.replace("shop:1", "shop:2"));
    assert!(
        kubectl
            .ok(&format!("apply -f {newer}"))
            .contains("deployment.apps/shop configured")
    );
    let ports = kubectl.ok("get deploy shop -o jsonpath={.spec.template.spec.containers[0].ports[*].protocol}");
    assert_eq!(ports, "UDP TCP", "two ports of one number stay two");
    assert!(
        kubectl
            .ok(&format!("apply --server-side --force-conflicts -f {newer}"))
            .contains("serverside-applied")
    );
    assert!(
        kubectl
            .ok(&format!("apply --dry-run=server -f {newer}"))
            .contains("(server dry run)")
    );
    assert_eq!(
        kubectl.run(&format!("diff -f {newer}")).status.code(),
        Some(0),
        "nothing differs"
    );

    kubectl.ok("scale deployment shop --replicas=4");
    kubectl.ok("set image deployment/shop main=shop:3");
    kubectl.ok(r#"patch deployment shop -p {"spec":{"minReadySeconds":7}}"#);
    kubectl.ok(
        r#"patch deployment shop --type=json -p [{"op":"replace","path":"/spec/paused","value":true}]"#
            .replace("replace", "add")
            .as_str(),
    );
    let spec = kubectl.ok("get deploy shop -o \
                           jsonpath={.spec.replicas},{.spec.minReadySeconds},{.spec.paused},{.spec.template.spec.\
                           containers[0].image}");
    assert_eq!(spec, "4,7,true,shop:3");

    assert!(
        kubectl
            .ok("create configmap settings --from-literal=a=1")
            .contains("created")
    );
    assert!(kubectl.ok("create namespace other").contains("created"));
    assert!(kubectl.ok("create deployment made --image=made:1").contains("created"));
    assert!(
        kubectl.ok("create token default").matches('.').count() == 2,
        "a token looks like a JWT"
    );
    kubectl.ok("label pod web tier=front");
    assert!(kubectl.ok("get pods -l tier=front -o name").contains("pod/web"));
    let wrong = kubectl.file(
        "wrong.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: Wrong}, spec: {containers: [{name: a}]}}",
    );
    let refused = kubectl.fails(&format!("create -f {wrong}"));
    assert!(
        refused.contains("spec.containers[0].image: Required value") && refused.contains("metadata.name"),
        "{refused}"
    );

    kubectl.ok("delete namespace other");
    kubectl.ok("delete pod web --grace-period=0 --force");
    assert!(kubectl.fails("get pod web").contains("not found"));
    kubectl.ok(&format!("delete -f {newer}"));
    kubectl.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_watches_and_waits() {
    let Some(kubectl) = Kubectl::new() else { return };
    kubectl.ok("wait --for=condition=Ready pod/web --timeout=10s");
    let mut watching = kubectl.command("get configmaps --watch");
    let mut watching = Running(watching.stdout(Stdio::piped()).spawn().expect("kubectl runs"));
    let mut lines = BufReader::new(watching.0.stdout.take().expect("a pipe")).lines();
    kubectl.ok("create configmap seen --from-literal=a=1");
    let seen = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.starts_with("seen"));
    assert!(seen.is_some_and(|line| line.contains('1')), "the new object is seen");
    drop(watching);
    kubectl.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_streams() {
    let Some(mut kubectl) = Kubectl::new() else { return };
    for transport in [Transport::WebSocket, Transport::Spdy] {
        kubectl.transport = transport;
        exec_log_and_forward(&kubectl);
    }
    kubectl.server.shutdown().await;
}

fn exec_log_and_forward(kubectl: &Kubectl) {
    assert_eq!(kubectl.ok("exec web -- echo hi there"), "hi there\n");
    let failed = kubectl.run("exec web -- fail 3");
    assert_eq!(failed.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("it fails"));
    let mut cat = kubectl.command("exec -i web -- cat");
    let mut cat = cat
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    cat.stdin
        .take()
        .expect("a pipe")
        .write_all(b"through")
        .expect("it is taken");
    assert_eq!(cat.wait_with_output().expect("it ends").stdout, b"through");
    assert_eq!(kubectl.ok("logs web --tail=1"), "main 5\n");

    let mut forward = kubectl.command("port-forward pod/web :80");
    let mut forward = Running(forward.stdout(Stdio::piped()).spawn().expect("kubectl runs"));
    // Kept open: kubectl says something for each connection, and would end of a closed pipe.
    let mut lines = BufReader::new(forward.0.stdout.take().expect("a pipe")).lines();
    let line = lines.next().expect("it says where").expect("it is text");
    let address = line
        .split_whitespace()
        .find(|word| word.starts_with("127.0.0.1:"))
        .expect("an address");
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(b"hello").expect("it is taken");
        stream.shutdown(std::net::Shutdown::Write).expect("it can be closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert_eq!(answer, "HELLO");
    }
    drop(forward);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_for_rights() {
    let Some(kubectl) = Kubectl::new() else { return };
    assert_eq!(kubectl.ok("auth can-i create pods").trim(), "yes");
    let jane = kubectl.server.tokens().issue(User::new("jane", &[]), None);
    let refused = kubectl.fails(&format!("--token {jane} get pods"));
    assert!(
        refused.contains("User \"jane\" cannot list resource \"pods\""),
        "{refused}"
    );
    let answer = kubectl.run(&format!("--token {jane} auth can-i create pods"));
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "no");
    assert!(kubectl.fails("--token wrong get pods").contains("Unauthorized"));
    kubectl.server.shutdown().await;
}
