//! A kubelet for tests: runs no containers, but answers exec, port-forward and logs in known ways.

use async_trait::async_trait;
use meshproof_apiserver::{
    ApiError, Duplex, Exec, ExitStatus, LogOptions, Object, Reader, Server, ServerOptions, Store, Streams,
};
use serde_json::json;
use std::{net::TcpListener, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// `cat` copies stdin to stdout, `echo` prints its arguments, `fail N` writes to stderr and ends with N. Every port
/// except 1 answers in capitals; port 1 refuses. The log counts from 1 to 5.
pub struct FakeKubelet;

#[async_trait]
impl Streams for FakeKubelet {
    async fn exec(&self, mut exec: Exec) -> Result<ExitStatus, ApiError> {
        let argv: Vec<&str> = exec.argv.iter().map(String::as_str).collect();
        match argv.as_slice() {
            ["echo", words @ ..] => {
                if let Some(stdout) = &mut exec.stdout {
                    let _ = stdout.write_all(format!("{}\n", words.join(" ")).as_bytes()).await;
                }
                Ok(ExitStatus::Code(0))
            }
            ["cat"] => {
                if let (Some(stdin), Some(stdout)) = (&mut exec.stdin, &mut exec.stdout) {
                    let _ = tokio::io::copy(stdin, stdout).await;
                }
                Ok(ExitStatus::Code(0))
            }
            ["fail", code] => {
                if let Some(stderr) = &mut exec.stderr {
                    let _ = stderr.write_all(b"it fails\n").await;
                }
                Ok(ExitStatus::Code(code.parse().unwrap_or(1)))
            }
            _ => Ok(ExitStatus::Failed(format!("no such command: {}", argv.join(" ")))),
        }
    }

    async fn port_forward(&self, _: &Object, port: u16) -> Result<Duplex, ApiError> {
        if port == 1 {
            return Err(ApiError::bad_request("connection refused"));
        }
        let (here, there) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(there);
            let mut chunk = [0; 4096];
            while let Ok(read) = reader.read(&mut chunk).await {
                if read == 0 || writer.write_all(&chunk[..read].to_ascii_uppercase()).await.is_err() {
                    break;
                }
            }
            let _ = writer.shutdown().await;
        });
        Ok(Box::pin(here))
    }

    async fn logs(&self, _: &Object, container: &str, options: LogOptions) -> Result<Reader, ApiError> {
        let lines = (1..=5u64).map(|n| format!("{container} {n}\n"));
        let skipped = 5usize.saturating_sub(options.tail_lines.unwrap_or(5) as usize);
        let text: String = lines.skip(skipped).collect();
        Ok(Box::pin(std::io::Cursor::new(text.into_bytes())))
    }
}

/// A server on a free port of the loopback, with a node and a running pod `web` (container `main`) in `default`.
pub fn start() -> (Server, Store) {
    let store = Store::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = Server::start(listener, store.clone(), Arc::new(FakeKubelet), ServerOptions::default())
        .expect("the server starts");
    let node = json!({
        "metadata": {"name": "node-1", "labels": {"node-role.kubernetes.io/worker": "true"}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {
                "kubeletVersion": "v1.33.6", "osImage": "Test", "kernelVersion": "6",
                "containerRuntimeVersion": "fake://1",
            },
        },
    });
    store
        .create(&meshproof_apiserver::resource::names::NODES, node)
        .expect("the node is stored");
    let pod = json!({
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "registry.example/web:1"}]},
    });
    let pods = meshproof_apiserver::resource::names::PODS;
    store.create(&pods, pod).expect("the pod is stored");
    store
        .modify_status(&pods, Some("default"), "web", |pod| {
            pod["status"] = json!({
                "phase": "Running", "podIP": "10.1.0.5", "podIPs": [{"ip": "10.1.0.5"}],
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "state": {"running": {}}}],
            });
        })
        .expect("the status is stored");
    (server, store)
}
