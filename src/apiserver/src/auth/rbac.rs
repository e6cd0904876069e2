//! Role-based access control: whether the roles and bindings in the store allow a request. Rules only add; there is no
//! denial, and a role binding that names an absent role grants nothing.

use super::{MASTERS, User};
use crate::{
    error::{ApiError, Reason},
    object::Object,
    resource::names::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES},
    store::Store,
};
use serde_json::Value;

/// What a request wants to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attributes {
    pub verb: String,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A path other than a resource, such as `/version`.
    Path(String),
    /// A resource. Empty namespace: the whole cluster; empty name: no particular object.
    Resource {
        group: String,
        resource: String,
        subresource: String,
        namespace: String,
        name: String,
    },
}

/// Whether the user may.
pub(crate) fn allows(store: &Store, user: &User, wanted: &Attributes) -> bool {
    if user.groups.iter().any(|group| group == MASTERS) {
        return true;
    }
    let namespace = match &wanted.target {
        Target::Path(_) => "",
        Target::Resource { namespace, .. } => namespace,
    };
    rules(store, user, namespace).iter().any(|rule| covers(rule, wanted))
}

/// Every rule that holds for the user in a namespace (empty: cluster-wide only).
pub(crate) fn rules(store: &Store, user: &User, namespace: &str) -> Vec<Value> {
    let mut rules = Vec::new();
    let mut add = |role: Option<Object>| {
        if let Some(role) = role {
            rules.extend(role["rules"].as_array().into_iter().flatten().cloned());
        }
    };
    for binding in store.all(&CLUSTER_ROLE_BINDINGS, None) {
        if binds(&binding, user, "") {
            add(store.find(&CLUSTER_ROLES, None, reference(&binding)));
        }
    }
    if !namespace.is_empty() {
        for binding in store.all(&ROLE_BINDINGS, Some(namespace)) {
            if !binds(&binding, user, namespace) {
                continue;
            }
            add(match binding["roleRef"]["kind"].as_str() {
                Some("ClusterRole") => store.find(&CLUSTER_ROLES, None, reference(&binding)),
                _ => store.find(&ROLES, Some(namespace), reference(&binding)),
            });
        }
    }
    rules
}

fn reference(binding: &Value) -> &str {
    binding["roleRef"]["name"].as_str().unwrap_or_default()
}

fn binds(binding: &Value, user: &User, namespace: &str) -> bool {
    let subjects = binding["subjects"].as_array().into_iter().flatten();
    subjects.into_iter().any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => name == user.name,
            Some("Group") => user.all_groups().any(|group| group == name),
            Some("ServiceAccount") => {
                let of = subject["namespace"]
                    .as_str()
                    .filter(|n| !n.is_empty())
                    .unwrap_or(namespace);
                user.as_service_account() == Some((of, name))
            }
            _ => false,
        }
    })
}

fn covers(rule: &Value, wanted: &Attributes) -> bool {
    let has = |field: &str, text: &str| list(rule, field).any(|entry| entry == "*" || entry == text);
    if !has("verbs", &wanted.verb) {
        return false;
    }
    match &wanted.target {
        Target::Path(path) => list(rule, "nonResourceURLs")
            .any(|url| url == path || url.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))),
        Target::Resource {
            group,
            resource,
            subresource,
            name,
            ..
        } => {
            let full = if subresource.is_empty() {
                resource.clone()
            } else {
                format!("{resource}/{subresource}")
            };
            let any_of_subresource = format!("*/{subresource}");
            let of_resource = list(rule, "resources")
                .any(|entry| entry == "*" || entry == full || (!subresource.is_empty() && entry == any_of_subresource));
            let named = list(rule, "resourceNames").next().is_none()
                || (!name.is_empty() && list(rule, "resourceNames").any(|entry| entry == name));
            has("apiGroups", group) && of_resource && named
        }
    }
}

fn list<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// 403 in the words of `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters.Forbidden`.
pub(crate) fn refusal(user: &User, wanted: &Attributes) -> ApiError {
    let verb = &wanted.verb;
    match &wanted.target {
        Target::Path(path) => {
            let message = format!("forbidden: User \"{}\" cannot {verb} path \"{path}\"", user.name);
            ApiError::new(Reason::Forbidden, message).about("", "", "")
        }
        Target::Resource {
            group,
            resource,
            subresource,
            namespace,
            name,
        } => {
            let full = if subresource.is_empty() {
                resource.clone()
            } else {
                format!("{resource}/{subresource}")
            };
            let place = match namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace \"{namespace}\""),
            };
            let qualified = if group.is_empty() {
                resource.clone()
            } else {
                format!("{resource}.{group}")
            };
            let what = if name.is_empty() {
                qualified
            } else {
                format!("{qualified} \"{name}\"")
            };
            let message = format!(
                "{what} is forbidden: User \"{}\" cannot {verb} resource \"{full}\" in API group \"{group}\" {place}",
                user.name,
            );
            ApiError::new(Reason::Forbidden, message).about(group, resource, name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Target, allows, refusal};
    use crate::{
        auth::User,
        resource::names::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES},
        store::Store,
    };
    use serde_json::json;

    fn wanted(verb: &str, path: &str) -> Attributes {
        let mut parts = path.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let target = Target::Resource {
            namespace: next(),
            group: next(),
            resource: next(),
            name: next(),
            subresource: next(),
        };
        Attributes {
            verb: verb.to_owned(),
            target,
        }
    }

    fn store() -> Store {
        let store = Store::new();
        let role = json!({
            "metadata": {"name": "reader", "namespace": "default"},
            "rules": [
                {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["known"], "verbs": ["get"]},
                {"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["*"]},
            ],
        });
        store.create(&ROLES, role).expect("the role is stored");
        let binding = json!({
            "metadata": {"name": "reader", "namespace": "default"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "robot"}],
        });
        store.create(&ROLE_BINDINGS, binding).expect("the binding is stored");
        let role = json!({
            "metadata": {"name": "watcher"},
            "rules": [
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["watch"]},
                {"nonResourceURLs": ["/metrics", "/debug/*"], "verbs": ["get"]},
            ],
        });
        store.create(&CLUSTER_ROLES, role).expect("the role is stored");
        let binding = json!({
            "metadata": {"name": "watchers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "watcher"},
            "subjects": [{"kind": "Group", "name": "ops"}],
        });
        store
            .create(&CLUSTER_ROLE_BINDINGS, binding)
            .expect("the binding is stored");
        store
    }

    #[test]
    fn rules_allow_what_they_name_and_nothing_else() {
        let store = store();
        let jane = User::new("jane", &[]);
        let may = |user: &User, verb: &str, path: &str| allows(&store, user, &wanted(verb, path));
        assert!(may(&jane, "list", "default//pods//"));
        assert!(may(&jane, "get", "default//pods/a/log"));
        assert!(
            !may(&jane, "get", "default//pods/a/exec"),
            "a subresource must be named"
        );
        assert!(
            !may(&jane, "list", "kube-system//pods//"),
            "a role holds in its namespace only"
        );
        assert!(!may(&jane, "list", "//pods//"), "a role does not hold for the cluster");
        assert!(may(&jane, "get", "default//secrets/known/"));
        assert!(!may(&jane, "get", "default//secrets/other/"));
        assert!(
            !may(&jane, "get", "default//secrets//"),
            "resourceNames do not allow a nameless request"
        );
        assert!(may(&jane, "patch", "default/apps/deployments/web/scale"));
        assert!(may(
            &User::new("system:serviceaccount:default:robot", &[]),
            "list",
            "default//pods//"
        ));
        assert!(may(&User::new("joe", &["ops"]), "watch", "/cilium.io/ciliumnodes//"));
        assert!(may(&User::admin("root"), "delete", "//nodes/n/"));
        let metrics = |path: &str| Attributes {
            verb: "get".to_owned(),
            target: Target::Path(path.to_owned()),
        };
        assert!(allows(&store, &User::new("joe", &["ops"]), &metrics("/debug/pprof")));
        assert!(!allows(&store, &jane, &metrics("/metrics")));
    }

    #[test]
    fn refusals_are_worded_as_kubernetes_does() {
        let jane = User::new("jane", &[]);
        assert_eq!(
            refusal(&jane, &wanted("list", "y//pods//")).message,
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"y\""
        );
        assert_eq!(
            refusal(&jane, &wanted("create", "y//pods/a/exec")).message,
            "pods \"a\" is forbidden: User \"jane\" cannot create resource \"pods/exec\" in API group \"\" in the \
             namespace \"y\""
        );
        assert_eq!(
            refusal(&jane, &wanted("get", "/apps/deployments/d/")).message,
            "deployments.apps \"d\" is forbidden: User \"jane\" cannot get resource \"deployments\" in API group \
             \"apps\" at the cluster scope"
        );
    }
}
