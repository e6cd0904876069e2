//! Credentials with which nodes pull the probe image: a Secret in each of the run's namespaces, gone with them.

use crate::{
    ApiError,
    api::Operation,
    client::ClusterClient,
    name::{MANAGED_BY, MANAGED_BY_VALUE, NAMESPACES, PULL_SECRET, RUN, label_value},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use meshproof_contract::RunId;
use serde_json::{Value, json};
use std::fmt;

/// A Docker configuration with credentials of registries; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryCredentials(String);

/// What is given as a Docker configuration cannot be used as one.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCredentials {
    /// Not JSON. What it is stays untold, since it may be a password.
    #[error("invalid JSON in line {line}; expected a Docker configuration with `auths`, as `docker login` writes it")]
    Malformed {
        /// 1-based.
        line: usize,
    },
    /// Nodes cannot ask the helpers of another machine.
    #[error(
        "`auths` holds no credentials, which a helper (credsStore) may keep elsewhere; write a file of its own with \
         `kubectl create secret docker-registry x --dry-run=client -o jsonpath={{.data.*}} | base64 -d`"
    )]
    Empty,
}

impl RegistryCredentials {
    /// From the text of a Docker configuration.
    ///
    /// # Errors
    /// The text is not JSON, or holds no credentials.
    pub fn parse(text: &str) -> Result<Self, InvalidCredentials> {
        let file: Value =
            serde_json::from_str(text).map_err(|error| InvalidCredentials::Malformed { line: error.line() })?;
        let mut auths = file["auths"].as_object().into_iter().flat_map(|auths| auths.values());
        if !auths.any(|auth| {
            ["auth", "username", "identitytoken"]
                .iter()
                .any(|key| auth.get(key).is_some())
        }) {
            return Err(InvalidCredentials::Empty);
        }
        // Nothing else of the file is for the nodes.
        Ok(Self(json!({"auths": file["auths"]}).to_string()))
    }

    /// The Secret of one namespace.
    pub(crate) fn secret(&self, namespace: &str, run: &RunId) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {
                "name": PULL_SECRET, "namespace": namespace,
                "labels": {MANAGED_BY: MANAGED_BY_VALUE, RUN: label_value(run.as_str())},
            },
            "data": {".dockerconfigjson": BASE64_STANDARD.encode(&self.0)},
        })
    }

    /// Puts it into all namespaces of the run.
    pub(crate) async fn apply(&self, client: &ClusterClient, run: &RunId) -> Result<(), ApiError> {
        let secrets = NAMESPACES.map(|namespace| client.apply(self.secret(namespace, run)));
        try_join_all(secrets).await.map(drop)
    }
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryCredentials(..)")
    }
}

/// Removes the Secret from a namespace that stays; where that is forbidden, no run could have made it.
pub(crate) async fn remove(client: &ClusterClient, namespace: &str) -> Result<(), ApiError> {
    let operation = Operation::on("delete", "secrets").within(namespace).named(PULL_SECRET);
    let api = client.within::<Secret>(namespace);
    match client
        .call(operation, api.delete(PULL_SECRET, &DeleteParams::default()))
        .await
    {
        Err(error) if !error.is_not_found() && !error.is_forbidden() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nodes_need_is_kept_and_nothing_is_shown() {
        let text = r#"{"auths": {"registry.example": {"auth": "c2VjcmV0"}}, "credsStore": "desktop"}"#;
        let credentials = RegistryCredentials::parse(text).expect("credentials");
        let secret: Secret =
            serde_json::from_value(credentials.secret("meshproof", &"run-1".into())).expect("a Secret");
        let data = secret.data.expect("data");
        let kept: Value = serde_json::from_slice(&data[".dockerconfigjson"].0).expect("JSON");
        assert_eq!(kept, json!({"auths": {"registry.example": {"auth": "c2VjcmV0"}}}));
        assert!(!format!("{credentials:?}").contains("c2Vj"));
    }

    #[test]
    fn what_holds_no_credentials_is_refused_without_being_shown() {
        let error = RegistryCredentials::parse("hunter2").expect_err("refused").to_string();
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
        for text in ["{}", r#"{"auths": {"registry.example": {}}, "credsStore": "desktop"}"#] {
            let error = RegistryCredentials::parse(text).expect_err("refused").to_string();
            assert!(error.contains("credsStore") && error.contains("{.data.*}"), "{error}");
        }
    }
}
