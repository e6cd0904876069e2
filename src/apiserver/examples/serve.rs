//! Serves an almost empty cluster until Ctrl-C, for trying clients by hand; prints the kubeconfig.

#[path = "../tests/clients/fake.rs"]
mod fake;

use meshproof_apiserver::{KubeContext, User, kubeconfig};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (server, _store) = fake::start();
    let context = KubeContext {
        name: "test".to_owned(),
        server: server.url(),
        ca_pem: server.ca_pem().to_owned(),
        token: server.tokens().issue(User::admin("admin"), None),
        namespace: None,
    };
    println!("{}", kubeconfig(&[context]));
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
