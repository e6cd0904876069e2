//! Pushing to a registry of our own, which checks what a real one checks.

mod registry;

use meshproof_image::{Credentials, Image, Program, PushError, Transport};
use registry::{Access, Registry};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Smallest static programs for x86-64 and AArch64.
fn image(folder: &Path, registry: &Registry, machines: &[u8]) -> Image {
    let binaries: Vec<_> = machines
        .iter()
        .map(|machine| {
            let mut file = b"\x7fELF\x02\x01\x01".to_vec();
            file.resize(64, 0);
            (file[16], file[18]) = (2, *machine);
            let path = folder.join(format!("agent-{machine}"));
            fs::write(&path, file).expect("writes");
            path
        })
        .collect();
    let reference = format!("{}/platform/agent:1.2.3", registry.address());
    Image::build(Program::Agent, &binaries, &reference).expect("builds")
}

fn user(password: &str) -> Credentials {
    Credentials::Basic {
        user: "pusher".to_owned(),
        password: password.to_owned(),
    }
}

#[tokio::test]
async fn an_index_arrives_whole_and_nothing_is_sent_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(Access::Open).await;
    let image = image(folder.path(), &registry, &[62, 183]);
    let pushed = image.push(&Credentials::Anonymous, Transport::Https).await;
    let summary = pushed.expect("pushes");
    let index: Value = serde_json::from_slice(&registry.manifest("1.2.3")).expect("JSON");
    assert_eq!(registry.digest_of("1.2.3"), summary.digest);
    let architectures: Vec<&Value> = index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|manifest| &manifest["platform"]["architecture"])
        .collect();
    assert_eq!(architectures, [&json!("amd64"), &json!("arm64")]);
    let uploads = registry.uploads();
    assert_eq!(uploads, 4, "a layer and a configuration for each architecture");
    image
        .push(&Credentials::Anonymous, Transport::Https)
        .await
        .expect("pushes again");
    assert_eq!(registry.uploads(), uploads);
}

#[tokio::test]
async fn a_password_or_a_token_for_it_opens_the_registry() {
    let folder = tempfile::tempdir().expect("a folder");
    for access in [Access::Password, Access::Token] {
        let registry = Registry::start(access).await;
        let image = image(folder.path(), &registry, &[62]);
        for stranger in [Credentials::Anonymous, user("wrong")] {
            let error = image.push(&stranger, Transport::Https).await.expect_err("refused");
            assert!(matches!(error, PushError::Refused { .. }), "{access:?}: {error:?}");
            let text = error.to_string();
            assert!(text.contains("docker login"), "{text}");
            assert!(!text.contains("wrong") && !text.contains('\n'), "{text}");
        }
        image.push(&user("secret"), Transport::Https).await.expect("pushes");
        assert_eq!(registry.digest_of("1.2.3"), image.summary().digest);
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(Access::Open).await;
    let image = image(folder.path(), &registry, &[62]);
    registry.stop().await;
    let error = image.push(&Credentials::Anonymous, Transport::Https).await;
    let text = error.expect_err("fails").to_string();
    assert!(text.starts_with("failed to push 127.0.0.1:"), "{text}");
    assert!(text.to_lowercase().contains("refused"), "{text}");
}

#[test]
fn credentials_are_those_that_docker_login_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    // pusher:secret
    let file = json!({"auths": {
        "registry.example:5000": {"auth": "cHVzaGVyOnNlY3JldA=="},
        "https://index.docker.io/v1/": {"auth": "cHVzaGVyOnNlY3JldA=="},
        "token.example": {"identitytoken": "x"},
    }});
    fs::write(&path, file.to_string()).expect("writes");
    let find = |registry: &str| Credentials::find(registry, Some(&path));
    assert!(find("registry.example:5000").expect("reads") == user("secret"));
    assert!(find("docker.io").expect("reads") == user("secret"));
    assert!(find("elsewhere.example").expect("reads") == Credentials::Anonymous);
    let error = find("token.example").err().expect("cannot be used").to_string();
    assert!(error.contains("token.example"), "{error}");
    let absent = folder.path().join("absent.json");
    assert!(Credentials::find("registry.example", Some(&absent)).expect("reads") == Credentials::Anonymous);
    fs::write(&path, "not JSON").expect("writes");
    assert!(find("registry.example").is_err());
}
