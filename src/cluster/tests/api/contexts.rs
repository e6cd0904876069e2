//! Contexts that do not lead to clusters, each reported in one line with its cause.

use crate::world::World;
use jiff::{SignedDuration, Timestamp};
use meshproof_apiserver::User;
use meshproof_cluster::{ContextError, Contexts, ProgressSink, Role, api::Cause, api::Outage};
use serde_json::json;
use std::net::TcpListener;

fn role(cluster: &str, context: &str) -> Role {
    Role {
        cluster: cluster.into(),
        context: context.into(),
    }
}

/// A kubeconfig without a user.
fn kubeconfig_to(server: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
- {{name: infra, cluster: {{server: '{server}'}}}}
contexts:
- {{name: infra, context: {{cluster: infra}}}}
"
    )
}

fn one_line(error: &ContextError) -> String {
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_named_as_such() {
    let world = World::start(&["infra"]);
    let expired = Timestamp::now() - SignedDuration::from_secs(1);
    let kubeconfig = world.kubeconfig_as(|c| c.server.tokens().issue(User::admin("root"), Some(expired)));
    let error = world.connect_with(kubeconfig).await.err().expect("401");
    let text = one_line(&error);
    assert!(
        text.contains("401") && text.contains("expired") && text.contains("auth whoami"),
        "{text}"
    );
    assert!(!error.is_configuration());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_server_is_reported_with_address_and_cause() {
    let world = World::start(&["infra"]);
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let kubeconfig = world.write(&kubeconfig_to(&format!("https://127.0.0.1:{port}")));
    let error = world.connect_with(kubeconfig).await.err().expect("refused");
    let text = one_line(&error);
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && text.contains("connection refused"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_reported() {
    let world = World::start(&["infra"]);
    let kubeconfig = world.write(&kubeconfig_to("https://nosuch.invalid:6443"));
    let error = world.connect_with(kubeconfig).await.err().expect("no such name");
    let ContextError::Api(api) = &error else {
        panic!("expected an API error, got {error:?}")
    };
    assert!(matches!(api.cause, Cause::Unreachable(Outage::Dns(_))), "{error:?}");
    assert!(one_line(&error).contains("nosuch.invalid"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_a_tls_error() {
    let world = World::start(&["infra", "apps"]);
    let text = std::fs::read_to_string(world.kubeconfig()).expect("the kubeconfig");
    let (infra, apps) = (world.cluster("infra").server.url(), world.cluster("apps").server.url());
    let swapped = text
        .replace(&infra, "SWAP")
        .replace(&apps, &infra)
        .replace("SWAP", &apps);
    let error = world
        .connect_with(world.write(&swapped))
        .await
        .err()
        .expect("wrong authority");
    let ContextError::Api(api) = &error else {
        panic!("expected an API error, got {error:?}")
    };
    assert!(matches!(api.cause, Cause::Unreachable(Outage::Tls(_))), "{error:?}");
    assert!(one_line(&error).contains("certificate-authority"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_roles_for_one_cluster_are_refused() {
    let world = World::start(&["infra"]);
    let roles = [role("infra", "infra"), role("apps", "infra")];
    let connected = Contexts::connect(&roles, Some(world.kubeconfig()), &ProgressSink::silent()).await;
    let error = connected.err().expect("the same cluster");
    let text = one_line(&error);
    assert!(
        text.contains("infra and apps are the same cluster") && text.contains("UID"),
        "{text}"
    );
    assert!(error.is_configuration());

    let roles = [role("infra", "infra"), role("infra", "infra")];
    let connected = Contexts::connect(&roles, Some(world.kubeconfig()), &ProgressSink::silent()).await;
    assert!(matches!(connected.err(), Some(ContextError::DuplicateRole(_))));
}

/// A kubeconfig whose user gets the credentials from a command, as with EKS, GKE or OIDC logins.
fn with_plugin(world: &World, command: &std::path::Path) -> std::path::PathBuf {
    let text = std::fs::read_to_string(world.kubeconfig()).expect("the kubeconfig");
    let exec = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never",
    }});
    let lines = text.lines().map(|line| match line.split_once("\"user\":{\"token\"") {
        Some((before, _)) => format!("{before}\"user\":{exec}}}"),
        None => line.to_owned(),
    });
    world.write(&lines.collect::<Vec<_>>().join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_may_come_from_a_plugin_and_its_failure_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::start(&["infra"]);
    let token = world.cluster("infra").server.tokens().issue(User::admin("root"), None);
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token},
    });
    let plugin = world.write(&format!("#!/bin/sh\necho '{credential}'\n"));
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).expect("executable");
    world
        .connect_with(with_plugin(&world, &plugin))
        .await
        .expect("connects");

    let absent = std::path::Path::new("/nonexistent/plugin");
    let error = world
        .connect_with(with_plugin(&world, absent))
        .await
        .err()
        .expect("no plugin");
    let text = one_line(&error);
    assert!(text.contains("/nonexistent/plugin") && text.contains("infra"), "{text}");
}
