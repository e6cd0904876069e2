//! What every namespace is given: the cluster's root certificate. (The API server itself gives the default
//! ServiceAccount and empties namespaces that go.)

use super::{Again, Controller};
use meshproof_apiserver::{
    ApiError, Resource, Store,
    resource::names::{CONFIG_MAPS, NAMESPACES},
};
use serde_json::json;

const NAME: &str = "kube-root-ca.crt";

pub(super) struct RootCa(String);

impl RootCa {
    /// Publishes this certificate (PEM).
    pub(super) fn new(root_ca: &str) -> Self {
        Self(root_ca.to_owned())
    }
}

impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-cert-publisher"
    }

    fn watches(&self) -> &'static [Resource] {
        const { &[NAMESPACES, CONFIG_MAPS] }
    }

    fn reconcile(&mut self, store: &Store) -> Result<Again, ApiError> {
        for namespace in store.all(&NAMESPACES, None) {
            if namespace.is_terminating() {
                continue;
            }
            let data = json!({"ca.crt": self.0});
            match store.find(&CONFIG_MAPS, Some(namespace.name()), NAME) {
                Some(present) if present["data"] == data => {}
                Some(_) => {
                    store.modify(&CONFIG_MAPS, Some(namespace.name()), NAME, |map| {
                        map["data"].clone_from(&data)
                    })?;
                }
                None => {
                    let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using \
                                 internal endpoints such as the internal service IP or kubernetes.default.svc. No \
                                 other usage is guaranteed across distributions of Kubernetes clusters.";
                    let metadata = json!({
                        "name": NAME, "namespace": namespace.name(),
                        "annotations": {"kubernetes.io/description": about},
                    });
                    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
                    store.create(&CONFIG_MAPS, map)?;
                }
            }
        }
        Ok(None)
    }
}
