//! A kubeconfig for contexts: what a user's `kubectl --kubeconfig` needs to reach servers.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// One context with its cluster and user, all of the same name.
#[derive(Clone, Debug)]
pub struct KubeContext {
    /// Name of the context, the cluster and the user.
    pub name: String,
    /// URL of the server, such as `https://127.0.0.1:6443`.
    pub server: String,
    /// The certificate authority in PEM.
    pub ca_pem: String,
    /// Bearer token.
    pub token: String,
    /// Default namespace; none for `default`.
    pub namespace: Option<String>,
}

/// The kubeconfig in YAML; the first context is the current one. It holds secrets: write it with mode 0600.
pub fn kubeconfig(contexts: &[KubeContext]) -> String {
    let each = |entry: fn(&KubeContext) -> Value| contexts.iter().map(entry).collect::<Vec<_>>();
    let clusters = each(|c| {
        let cluster = json!({"server": c.server, "certificate-authority-data": STANDARD.encode(&c.ca_pem)});
        json!({"name": c.name, "cluster": cluster})
    });
    let users = each(|c| json!({"name": c.name, "user": {"token": c.token}}));
    let contexts_listed = each(|c| {
        let mut context = json!({"cluster": c.name, "user": c.name});
        if let Some(namespace) = &c.namespace {
            context["namespace"] = json!(namespace);
        }
        json!({"name": c.name, "context": context})
    });
    let mut text = String::from("apiVersion: v1\nkind: Config\npreferences: {}\n");
    let current = contexts.first().map_or("", |c| c.name.as_str());
    text.push_str(&format!("current-context: {}\n", json!(current)));
    for (key, list) in [("clusters", clusters), ("users", users), ("contexts", contexts_listed)] {
        text.push_str(&format!("{key}:\n"));
        // JSON is YAML: quoting is right whatever the names hold.
        for entry in list {
            text.push_str(&format!("- {entry}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{KubeContext, kubeconfig};
    use serde_json::{Value, json};

    #[test]
    fn the_kubeconfig_is_yaml_with_every_context() {
        let context = |name: &str| KubeContext {
            name: name.to_owned(),
            server: "https://127.0.0.1:6443".to_owned(),
            ca_pem: "PEM".to_owned(),
            token: "a: \"b\"".to_owned(),
            namespace: None,
        };
        let text = kubeconfig(&[context("infra"), context("apps")]);
        let parsed: Value = serde_saphyr::from_str(&text).expect("it is YAML");
        assert_eq!(parsed["current-context"], "infra");
        assert_eq!(parsed["clusters"][1]["cluster"]["certificate-authority-data"], "UEVN");
        assert_eq!(parsed["users"][0]["user"], json!({"token": "a: \"b\""}));
    }
}
