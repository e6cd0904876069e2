//! Two clusters that the command under test knows by a kubeconfig only.

use crate::{Result, command::Meshproof, text};
use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Client, Config,
    api::{Api, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use meshproof_lab::{LabOptions, RunningLab, launch};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The two contexts of the kubeconfig.
pub const CONTEXTS: [&str; 2] = ["infra", "apps"];

/// A lab, started as from another terminal.
pub struct Clusters {
    lab: RunningLab,
    runtime: Runtime,
    folder: TempDir,
}

impl Clusters {
    pub fn start() -> Result<Self> {
        // Fails only when it was installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(text)?;
        let lab = runtime.block_on(launch(LabOptions::default())).map_err(text)?;
        let folder = tempfile::tempdir().map_err(text)?;
        Ok(Self { lab, runtime, folder })
    }

    /// The command on these clusters, in a folder of its own.
    pub fn meshproof(&self) -> Result<Meshproof> {
        Meshproof::new(self.lab.kubeconfig_path())
    }

    /// The kubeconfig of both.
    pub fn kubeconfig(&self) -> &Path {
        self.lab.kubeconfig_path()
    }

    /// URL of the API server of a context's cluster, and the certificate of its authority (PEM).
    pub fn server(&self, context: &str) -> Result<(String, Vec<u8>)> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).map_err(text)?;
        let named = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == context);
        let named = named
            .and_then(|cluster| cluster.cluster)
            .ok_or("a context without a cluster")?;
        let authority = named.certificate_authority_data.unwrap_or_default();
        let authority = BASE64_STANDARD.decode(authority).map_err(text)?;
        Ok((named.server.unwrap_or_default(), authority))
    }

    /// The kubeconfig with every token replaced.
    pub fn kubeconfig_with(&self, token: impl Fn(&str) -> String) -> Result<PathBuf> {
        let mut kubeconfig = Kubeconfig::read_from(self.lab.kubeconfig_path()).map_err(text)?;
        for user in &mut kubeconfig.auth_infos {
            let token = token(&user.name);
            user.auth_info.get_or_insert_default().token = Some(token.into());
        }
        let path = self.folder.path().join("kubeconfig");
        fs::write(&path, serde_saphyr::to_string(&kubeconfig).map_err(text)?).map_err(text)?;
        Ok(path)
    }

    /// The kubeconfig in which a context's server is another one.
    pub fn kubeconfig_through(&self, context: &str, way: impl Fn(&str) -> Result<String>) -> Result<PathBuf> {
        let mut kubeconfig = Kubeconfig::read_from(self.lab.kubeconfig_path()).map_err(text)?;
        let of_context = kubeconfig.contexts.iter().find(|named| named.name == context);
        let cluster = of_context.and_then(|named| Some(named.context.as_ref()?.cluster.clone()));
        let cluster = cluster.ok_or("the lab's kubeconfig lacks a context")?;
        let named = kubeconfig.clusters.iter_mut().find(|named| named.name == cluster);
        let server = named.and_then(|named| named.cluster.as_mut()?.server.as_mut());
        let server = server.ok_or("the lab's kubeconfig lacks a server")?;
        *server = way(server)?;
        let path = self.folder.path().join("kubeconfig-through");
        fs::write(&path, serde_saphyr::to_string(&kubeconfig).map_err(text)?).map_err(text)?;
        Ok(path)
    }

    /// A token of a service account with this role, or with none.
    pub fn token(&self, context: &str, account: &str, role: Option<serde_json::Value>) -> Result<String> {
        self.runtime.block_on(async {
            let client = self.client(context).await?;
            let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
            let params = PostParams::default();
            let named: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": account}})).map_err(text)?;
            accounts.create(&params, &named).await.map_err(text)?;
            if let Some(role) = role {
                let role: ClusterRole = serde_json::from_value(role).map_err(text)?;
                let roles = Api::<ClusterRole>::all(client.clone());
                let role = roles.create(&params, &role).await.map_err(text)?;
                let binding: ClusterRoleBinding = serde_json::from_value(json!({
                    "metadata": {"name": account},
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.metadata.name,
                    },
                    "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": account}],
                }))
                .map_err(text)?;
                let bindings = Api::<ClusterRoleBinding>::all(client);
                bindings.create(&params, &binding).await.map_err(text)?;
            }
            let request = accounts
                .create_token_request(account, &params, &TokenRequest::default())
                .await
                .map_err(text)?;
            Ok(request.status.ok_or("a token request without a token")?.token)
        })
    }

    /// That no cluster has anything of meshproof.
    pub fn hold_nothing(&self) -> Result<()> {
        self.runtime.block_on(async {
            for context in CONTEXTS {
                let namespaces = Api::<Namespace>::all(self.client(context).await?);
                let all = namespaces.list(&ListParams::default()).await.map_err(text)?;
                let names: Vec<_> = all.items.into_iter().filter_map(|ns| ns.metadata.name).collect();
                if names.iter().any(|name| name.starts_with("meshproof")) {
                    return Err(format!("{context} still has namespaces {}", names.join(", ")));
                }
            }
            Ok(())
        })
    }

    /// Applies an object, as an administrator would.
    pub fn apply(&self, context: &str, object: &Value) -> Result<()> {
        self.runtime.block_on(async {
            let (api, name) = self.api(context, object).await?;
            let params = PatchParams::apply("house").force();
            api.patch(&name, &params, &Patch::Apply(object)).await.map_err(text)?;
            Ok(())
        })
    }

    /// An object as it is now; only its kind and name are given.
    pub fn read(&self, context: &str, object: &Value) -> Result<Value> {
        self.runtime.block_on(async {
            let (api, name) = self.api(context, object).await?;
            serde_json::to_value(api.get(&name).await.map_err(text)?).map_err(text)
        })
    }

    /// A fault acts for so long.
    pub fn broken_for(&self, fault: &str, time: Duration) -> Result<()> {
        self.runtime.block_on(async {
            self.lab.control().inject(fault).await.map_err(text)?;
            tokio::time::sleep(time).await;
            self.lab.control().heal(fault).await.map_err(text)
        })
    }

    /// The names of the objects of a kind in a namespace; only these are given.
    pub fn names(&self, context: &str, object: &Value) -> Result<Vec<String>> {
        self.runtime.block_on(async {
            let (api, _) = self.api(context, object).await?;
            let all = api.list(&ListParams::default()).await.map_err(text)?;
            Ok(all.items.into_iter().filter_map(|one| one.metadata.name).collect())
        })
    }

    /// Removes an object; one that is gone with a run's namespace is removed.
    pub fn remove(&self, context: &str, object: &Value) -> Result<()> {
        self.runtime.block_on(async {
            let (api, name) = self.api(context, object).await?;
            match api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                other => other.map(drop).map_err(text),
            }
        })
    }

    /// The API of an object's kind, and its name.
    async fn api(&self, context: &str, object: &Value) -> Result<(Api<DynamicObject>, String)> {
        let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = field(&object["apiVersion"]);
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let kind = GroupVersionKind::gvk(group, version, &field(&object["kind"]));
        let client = self.client(context).await?;
        let (resource, _) = kube::discovery::pinned_kind(&client, &kind).await.map_err(text)?;
        let api = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        Ok((api, field(&object["metadata"]["name"])))
    }

    async fn client(&self, context: &str) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(self.lab.kubeconfig_path()).map_err(text)?;
        let options = KubeConfigOptions {
            context: Some(context.to_owned()),
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Client::try_from(config.map_err(text)?).map_err(text)
    }
}
