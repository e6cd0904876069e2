//! kube-rs: exec, port-forward and logs.

use super::rust::{code, start};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, LogParams},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn exec_carries_streams_and_the_exit_code() {
    let (server, _, client) = start().await;
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let params = AttachParams::default().stdin(true).stderr(false);
    let mut cat = pods.exec("web", ["cat"], &params).await.expect("it runs");
    let mut stdin = cat.stdin().expect("there is stdin");
    let sent = "x".repeat(300_000);
    let text = sent.clone();
    let feeding = tokio::spawn(async move {
        stdin.write_all(text.as_bytes()).await.expect("it is taken");
        stdin.shutdown().await.expect("it can be closed");
    });
    let mut received = String::new();
    cat.stdout()
        .expect("there is stdout")
        .read_to_string(&mut received)
        .await
        .expect("it can be read");
    feeding.await.expect("fed");
    assert_eq!(received.len(), sent.len());

    let params = AttachParams::default();
    let mut failing = pods.exec("web", ["fail", "3"], &params).await.expect("it runs");
    let status = failing.take_status().expect("there is a status");
    let mut stderr = String::new();
    failing
        .stderr()
        .expect("there is stderr")
        .read_to_string(&mut stderr)
        .await
        .expect("it can be read");
    assert_eq!(stderr, "it fails\n");
    let status = status.await.expect("the command ends");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));

    let absent = pods
        .exec("web", ["x"], &AttachParams::default().container("absent"))
        .await;
    assert!(absent.is_err(), "a container that does not exist is refused");
    server.shutdown().await;
}

#[tokio::test]
async fn ports_are_forwarded() {
    let (server, _, client) = start().await;
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let mut forwarder = pods.portforward("web", &[80, 1]).await.expect("it connects");
    let mut stream = forwarder.take_stream(80).expect("the port is there");
    stream.write_all(b"hello").await.expect("it is taken");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("it answers");
    assert_eq!(&answer, b"HELLO");
    let refused = forwarder.take_error(1).expect("the port is there").await;
    assert!(
        refused.is_some_and(|text| text.contains("connection refused")),
        "port 1 refuses"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn logs_are_read() {
    let (server, _, client) = start().await;
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let params = LogParams {
        tail_lines: Some(2),
        ..LogParams::default()
    };
    assert_eq!(
        pods.logs("web", &params).await.expect("there is a log"),
        "main 4\nmain 5\n"
    );
    let previous = LogParams {
        previous: true,
        ..LogParams::default()
    };
    assert_eq!(
        code(&pods.logs("web", &previous).await.expect_err("there was none before")),
        400
    );
    server.shutdown().await;
}
