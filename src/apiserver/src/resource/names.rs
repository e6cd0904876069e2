//! The built-in resources by name, for callers in process.

use super::Resource;

macro_rules! resources {
    ($($name:ident = $group:literal, $plural:literal;)*) => {
        $(
            #[doc = concat!("`", $plural, "` of group `", $group, "`.")]
            pub const $name: Resource = Resource::of($group, $plural);
        )*
    };
}

resources! {
    PODS = "", "pods";
    SERVICES = "", "services";
    ENDPOINTS = "", "endpoints";
    NAMESPACES = "", "namespaces";
    NODES = "", "nodes";
    CONFIG_MAPS = "", "configmaps";
    SECRETS = "", "secrets";
    SERVICE_ACCOUNTS = "", "serviceaccounts";
    EVENTS = "", "events";
    PERSISTENT_VOLUMES = "", "persistentvolumes";
    PERSISTENT_VOLUME_CLAIMS = "", "persistentvolumeclaims";
    REPLICATION_CONTROLLERS = "", "replicationcontrollers";
    LIMIT_RANGES = "", "limitranges";
    RESOURCE_QUOTAS = "", "resourcequotas";
    DEPLOYMENTS = "apps", "deployments";
    REPLICA_SETS = "apps", "replicasets";
    DAEMON_SETS = "apps", "daemonsets";
    STATEFUL_SETS = "apps", "statefulsets";
    CONTROLLER_REVISIONS = "apps", "controllerrevisions";
    JOBS = "batch", "jobs";
    CRON_JOBS = "batch", "cronjobs";
    ENDPOINT_SLICES = "discovery.k8s.io", "endpointslices";
    LEASES = "coordination.k8s.io", "leases";
    NETWORK_POLICIES = "networking.k8s.io", "networkpolicies";
    INGRESSES = "networking.k8s.io", "ingresses";
    INGRESS_CLASSES = "networking.k8s.io", "ingressclasses";
    POD_DISRUPTION_BUDGETS = "policy", "poddisruptionbudgets";
    ROLES = "rbac.authorization.k8s.io", "roles";
    ROLE_BINDINGS = "rbac.authorization.k8s.io", "rolebindings";
    CLUSTER_ROLES = "rbac.authorization.k8s.io", "clusterroles";
    CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io", "clusterrolebindings";
    STORAGE_CLASSES = "storage.k8s.io", "storageclasses";
    PRIORITY_CLASSES = "scheduling.k8s.io", "priorityclasses";
    CUSTOM_RESOURCE_DEFINITIONS = "apiextensions.k8s.io", "customresourcedefinitions";
    API_SERVICES = "apiregistration.k8s.io", "apiservices";
    MUTATING_WEBHOOKS = "admissionregistration.k8s.io", "mutatingwebhookconfigurations";
    VALIDATING_WEBHOOKS = "admissionregistration.k8s.io", "validatingwebhookconfigurations";
}
