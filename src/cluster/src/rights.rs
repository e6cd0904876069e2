//! The rights that a run needs, as RBAC objects: what `meshproof rbac` prints. A test compares them with the calls
//! made.

use crate::name::PULL_SECRET;
use meshproof_contract::{Consent, cilium::CERTIFICATE_SECRETS};
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
    /// What it is for, and what is missing without it.
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
pub const RULES: [Rule; 23] = [
    rule(
        "",
        &["namespaces"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "creates, watches and deletes the namespaces meshproof, meshproof-node and meshproof-peer; the UID of \
         kube-system identifies a cluster",
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
        "workloads of the probe agents",
    ),
    rule(
        "",
        &["services", "configmaps"],
        &["get", "list", "create", "patch", "delete"],
        "objects of the scenarios; Services of all namespaces to find cluster DNS, ConfigMaps of all namespaces to \
         find cilium-config",
    ),
    rule(
        "",
        &["serviceaccounts"],
        &["list", "create", "patch", "delete"],
        "service accounts of probe pods, without any rights, for policies that select by service account",
    ),
    rule(
        "discovery.k8s.io",
        &["endpointslices"],
        &["list", "watch", "create", "patch", "delete"],
        "endpoints of Services of all namespaces, which agents must serve, and the replicas of cluster DNS; created in \
         the run's namespaces only, for a Service without selector",
    ),
    rule(
        "",
        &["pods"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "readiness and restarts of probe agents; Cilium's pods; pods of all namespaces, which every node must know",
    ),
    rule(
        "",
        &["pods/portforward", "pods/exec"],
        &["get", "create"],
        "the control stream to probe agents (exec where port-forward fails), and Cilium's own commands in its pods; a \
         WebSocket needs get, Kubernetes 1.35 and later also require create",
    ),
    rule(
        "",
        &["nodes"],
        &["get", "list", "watch"],
        "one probe agent is expected on each node; without this the DaemonSets' count is used. Without watch, nodes \
         that come, go or become unready during the run are not named",
    ),
    rule(
        "",
        &["events"],
        &["list"],
        "why a probe agent does not become ready; without this only the pod's status is known",
    ),
    Rule {
        names: &[PULL_SECRET],
        ..rule(
            "",
            &["secrets"],
            &["create", "patch", "delete"],
            "the Secret of --image-pull-secret in the run's namespaces; not needed without it",
        )
    },
    Rule {
        names: &["cilium-clustermesh"],
        ..rule(
            "",
            &["secrets"],
            &["get"],
            "the names of the clusters that this one should join; without this a missing one is not noticed",
        )
    },
    Rule {
        names: &CERTIFICATE_SECRETS,
        ..rule(
            "",
            &["secrets"],
            &["get"],
            "for how long the certificates of Cilium, Hubble and the mesh are valid; these Secrets hold private keys, \
             too, which are not looked at. Without this components::certificates is skipped",
        )
    },
    rule(
        "apps",
        &["statefulsets"],
        &["list"],
        "components that are StatefulSets, such as the SPIRE server",
    ),
    rule(
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
        &["list"],
        "whether the custom resources that Cilium needs are there and served",
    ),
    rule(
        "apiregistration.k8s.io",
        &["apiservices"],
        &["list"],
        "whether aggregated APIs are available",
    ),
    rule(
        "admissionregistration.k8s.io",
        &["validatingwebhookconfigurations", "mutatingwebhookconfigurations"],
        &["list"],
        "webhooks whose Service is gone, or that another mesh left",
    ),
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
        &[
            "ciliumnodes",
            "ciliumendpoints",
            "ciliumnodeconfigs",
            "ciliumloadbalancerippools",
        ],
        &["get", "list"],
        "Cilium's view of nodes and pods, settings of single nodes, and whether Services can get addresses",
    ),
    rule(
        "kustomize.toolkit.fluxcd.io",
        &["kustomizations"],
        &["list"],
        "whether Flux has applied what is in Git; not needed without Flux",
    ),
    rule(
        "helm.toolkit.fluxcd.io",
        &["helmreleases"],
        &["list"],
        "whether Flux has installed what is in Git; not needed without Flux",
    ),
    rule(
        "source.toolkit.fluxcd.io",
        &["gitrepositories", "ocirepositories", "helmrepositories"],
        &["list"],
        "whether Flux has fetched its sources; not needed without Flux",
    ),
];

/// Name of the Role that lets a run read the Helm release of Cilium.
pub const HELM_ROLE: &str = "meshproof-helm-release";
/// Where Helm keeps that release.
const HELM_NAMESPACE: &str = "kube-system";

/// What reading the Helm release needs, in `kube-system` only. It is not among [`RULES`]: RBAC cannot name Secrets
/// by their type, so it allows to read all of them there.
pub const HELM_RULE: Rule = rule(
    "",
    &["secrets"],
    &["get", "list"],
    "the Helm release of Cilium, a Secret whose name changes with each revision: its values and what it rendered are \
     compared with Git and with what runs; without this that link of the chain is not read",
);

/// Name of the Role that lets a run have clients of flows in a namespace of the operators.
pub const FLOWS_ROLE: &str = "meshproof-flows";

/// What a client of flows needs in its namespace.
pub const FLOWS_RULES: [Rule; 3] = [
    rule(
        "apps",
        &["deployments"],
        &["get", "list", "create", "patch", "delete"],
        "the client of flows: a Deployment with one pod that is never ready",
    ),
    rule(
        "",
        &["pods"],
        &["get", "list", "watch"],
        "whether the client runs, and whether it is gone",
    ),
    rule(
        "",
        &["pods/portforward", "pods/exec"],
        &["get", "create"],
        "the control stream to the client's agent (exec where port-forward fails)",
    ),
];

/// The Role of a namespace with clients of flows, as a YAML document, each rule below its reason.
pub fn flows_manifest(namespace: &str) -> String {
    let mut text = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: {FLOWS_ROLE}\n  namespace: \
         {namespace}\nrules:\n"
    );
    for rule in FLOWS_RULES {
        text.push_str(&format!("  # {}\n  - {}\n", rule.why, rule.to_value()));
    }
    text
}

/// What only `--disruptive` needs, besides [`RULES`], which include restarting agents and scaling Deployments.
pub const DISRUPTIVE_RULES: [Rule; 1] = [rule(
    "",
    &["nodes"],
    &["patch"],
    "with --disruptive a node is cordoned, or annotated before nodePower in meshproof.yaml cuts it off, and `clean` \
     undoes it",
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

/// The Role that lets a run read the Helm release.
pub fn helm_release_role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": HELM_ROLE, "namespace": HELM_NAMESPACE}, "rules": [HELM_RULE.to_value()],
    })
}

/// The same as a YAML document, with its reason.
pub fn helm_release_manifest() -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: {HELM_ROLE}\n  namespace: \
         {HELM_NAMESPACE}\nrules:\n  # {}\n  - {}\n",
        HELM_RULE.why,
        HELM_RULE.to_value()
    )
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
