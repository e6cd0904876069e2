//! The roles and bindings that every cluster has from the start, as far as clients rely on them.

use super::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};
use crate::{
    resource::names::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES},
    store::Store,
};
use serde_json::{Value, json};

/// Creates the default roles and bindings.
pub(crate) fn create_roles(store: &Store) {
    let health = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let mut discovery: Vec<&str> = vec!["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"];
    discovery.extend(health);
    let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    role(
        store,
        "cluster-admin",
        json!([rule(&["*"], &["*"], &["*"]), urls(&["*"], &["*"])]),
    );
    role(store, "system:discovery", json!([urls(&discovery, &["get"])]));
    role(store, "system:public-info-viewer", json!([urls(&health, &["get"])]));
    role(
        store,
        "system:basic-user",
        json!([
            rule(&["authorization.k8s.io"], &reviews, &["create"]),
            rule(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"]),
        ]),
    );
    let read = ["get", "list", "watch"];
    let write = ["create", "delete", "deletecollection", "patch", "update"];
    let core = [
        "configmaps",
        "endpoints",
        "events",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "replicationcontrollers",
        "serviceaccounts",
        "services",
        "namespaces",
    ];
    let workloads = ["apps", "batch", "discovery.k8s.io", "networking.k8s.io", "policy"];
    let view = [rule(&[""], &core, &read), rule(&workloads, &["*"], &read)];
    let streams = ["pods/attach", "pods/exec", "pods/portforward", "secrets"];
    let edit = [
        rule(
            &[""],
            &streams,
            &[
                "get",
                "list",
                "watch",
                "create",
                "delete",
                "deletecollection",
                "patch",
                "update",
            ],
        ),
        rule(&[""], &core[..10], &write),
        rule(&[""], &["pods/eviction", "serviceaccounts/token"], &["create"]),
        rule(&workloads, &["*"], &write),
    ];
    let admin = rule(&["rbac.authorization.k8s.io"], &["roles", "rolebindings"], &["*"]);
    let of = |parts: &[&[Value]]| Value::Array(parts.concat());
    role(store, "view", of(&[&view]));
    role(store, "edit", of(&[&view, &edit]));
    role(store, "admin", of(&[&view, &edit, &[admin]]));
    bind(store, "cluster-admin", &[MASTERS]);
    bind(store, "system:discovery", &[AUTHENTICATED]);
    bind(store, "system:basic-user", &[AUTHENTICATED]);
    bind(store, "system:public-info-viewer", &[AUTHENTICATED, UNAUTHENTICATED]);
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

fn urls(urls: &[&str], verbs: &[&str]) -> Value {
    json!({"nonResourceURLs": urls, "verbs": verbs})
}

fn labels() -> Value {
    json!({"kubernetes.io/bootstrapping": "rbac-defaults"})
}

fn role(store: &Store, name: &str, rules: Value) {
    let role = json!({"metadata": {"name": name, "labels": labels()}, "rules": rules});
    report(name, store.create(&CLUSTER_ROLES, role));
}

fn bind(store: &Store, role: &str, groups: &[&str]) {
    let group = |name: &&str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
    let binding = json!({
        "metadata": {"name": role, "labels": labels()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": groups.iter().map(group).collect::<Vec<_>>(),
    });
    report(role, store.create(&CLUSTER_ROLE_BINDINGS, binding));
}

fn report(name: &str, created: Result<crate::Object, crate::ApiError>) {
    if let Err(error) = created
        && !error.is_already_exists()
    {
        tracing::warn!(%error, name, "a hook refused a default role");
    }
}
