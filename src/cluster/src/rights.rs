//! The rights that a run needs, as RBAC objects: what `meshproof rbac` prints. A test holds the crate to them.

use meshproof_contract::Consent;
use serde_json::{Value, json};

/// Name of the ClusterRole.
pub const ROLE: &str = "meshproof";

/// One rule with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API group; empty for core.
    pub group: &'static str,
    /// Resources, subresources with their slash.
    pub resources: &'static [&'static str],
    /// Only objects of these names; empty for all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What it is for, and what is lost without it.
    pub why: &'static str,
}

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule {
        group,
        resources,
        names: &[],
        verbs,
        why,
    }
}

/// Every rule. Cluster-wide, since the namespaces come and go with the run.
pub const RULES: [Rule; 14] = [
    rule(
        "",
        &["namespaces"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "the run's namespaces meshproof, meshproof-node and meshproof-peer are made, watched and removed; the UID of kube-system tells clusters apart",
    ),
    rule(
        "coordination.k8s.io",
        &["leases"],
        &["get", "list", "watch", "create", "update", "delete"],
        "the Lease keeps two runs apart",
    ),
    rule(
        "apps",
        &["daemonsets", "deployments"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "the agents' workloads",
    ),
    rule(
        "",
        &["services", "configmaps"],
        &["get", "list", "create", "patch", "delete"],
        "the scenarios' objects; Services of all namespaces to find cluster DNS, ConfigMaps of all to find cilium-config",
    ),
    rule(
        "",
        &["serviceaccounts"],
        &["list", "create", "patch", "delete"],
        "accounts of probe pods, without any rights, for policies that select by account",
    ),
    rule(
        "discovery.k8s.io",
        &["endpointslices"],
        &["list", "watch"],
        "what Services lead to, and the replicas of cluster DNS",
    ),
    rule(
        "",
        &["pods"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "agents becoming ready, restarted or replaced; Cilium's pods",
    ),
    rule(
        "",
        &["pods/portforward", "pods/exec"],
        &["get", "create"],
        "the control stream to agents (exec where port-forward fails), and Cilium's own commands in its pods; get is what a WebSocket needs, Kubernetes 1.35 and later ask for create as well",
    ),
    rule(
        "",
        &["nodes"],
        &["get", "list"],
        "one agent is expected on each; without it the DaemonSets' count is used",
    ),
    rule(
        "",
        &["events"],
        &["list"],
        "why an agent does not come; without it only the pod's status tells",
    ),
    Rule {
        names: &["cilium-clustermesh"],
        ..rule(
            "",
            &["secrets"],
            &["get"],
            "the names of the clusters that this one is to join; without it none can be missed",
        )
    },
    rule(
        "networking.k8s.io",
        &["networkpolicies"],
        &["get", "list", "create", "patch", "delete"],
        "policies under test, in the run's namespaces only",
    ),
    rule(
        "cilium.io",
        &["ciliumnetworkpolicies", "ciliumclusterwidenetworkpolicies"],
        &["get", "list", "create", "patch", "delete"],
        "policies under test, labelled with the run",
    ),
    rule(
        "cilium.io",
        &["ciliumnodes", "ciliumendpoints", "ciliumidentities"],
        &["get", "list"],
        "what Cilium knows of nodes and pods",
    ),
];

/// What only `--disruptive` needs, besides [`RULES`], which restart agents and scale Deployments already.
pub const DISRUPTIVE_RULES: [Rule; 1] = [rule(
    "",
    &["nodes"],
    &["patch"],
    "with --disruptive a node is cordoned while it counts as lost, unless the operators' own command cuts it off",
)];

/// The ClusterRole.
pub fn cluster_role() -> Value {
    role(&rules(Consent::Withheld))
}

/// The ClusterRole of runs with `--disruptive`.
pub fn disruptive_cluster_role() -> Value {
    role(&rules(Consent::Given))
}

/// The ClusterRole as a YAML document, each rule below its reason.
pub fn manifest(consent: Consent) -> String {
    let mut text =
        format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {ROLE}\nrules:\n");
    for rule in rules(consent) {
        text.push_str(&format!("  # {}\n  - {}\n", rule.why, rule.to_value()));
    }
    text
}

fn rules(consent: Consent) -> Vec<Rule> {
    match consent {
        Consent::Withheld => RULES.to_vec(),
        Consent::Given => [&RULES[..], &DISRUPTIVE_RULES[..]].concat(),
    }
}

fn role(rules: &[Rule]) -> Value {
    let rules: Vec<Value> = rules.iter().map(Rule::to_value).collect();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": ROLE}, "rules": rules,
    })
}

impl Rule {
    /// As RBAC writes it.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"apiGroups": [self.group], "resources": self.resources, "verbs": self.verbs});
        if !self.names.is_empty() {
            value["resourceNames"] = json!(self.names);
        }
        value
    }
}
