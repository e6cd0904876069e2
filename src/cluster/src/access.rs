//! What the user may do in a cluster, and whether its nodes have the probe image: read before a run, changes nothing.

use crate::{
    api::{ApiError, Operation},
    client::ClusterClient,
    rights::{DISRUPTIVE_RULES, HELM_RULE, RULES, Rule},
};
use k8s_openapi::api::{
    authorization::v1::{ResourceRule, SelfSubjectRulesReview, SelfSubjectRulesReviewSpec},
    core::v1::Node,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use meshproof_contract::Consent;

/// The namespace whose rules are asked for: one of a run's own, so that rights in others do not count.
const NAMESPACE: &str = "meshproof";
/// Where Helm keeps its releases.
const HELM_NAMESPACE: &str = "kube-system";

/// What the user may not do and a run would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Of each rule, what is missing.
    pub missing: Vec<MissingRight>,
    /// Whether the Helm release of Cilium may be read.
    pub reads_helm_release: bool,
    /// Whether the API server could not tell everything: then what is missing may be allowed nevertheless.
    pub is_incomplete: bool,
}

/// What is missing of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// The rule.
    pub rule: Rule,
    /// Verbs and resources, such as `list pods, watch pods`.
    pub what: String,
}

impl MissingRight {
    /// Whether a run cannot do without: what is only read is left out with a warning.
    pub fn is_required(&self) -> bool {
        self.rule.verbs.contains(&"create")
    }
}

/// What the user may not do of what runs need.
///
/// # Errors
/// The API server does not answer, or no user may ask it.
pub async fn rights(client: &ClusterClient, consent: Consent) -> Result<Rights, ApiError> {
    let (own, helm) = tokio::join!(rules(client, NAMESPACE), rules(client, HELM_NAMESPACE));
    let ((own, is_incomplete), (helm, _)) = (own?, helm?);
    let needed: &[&[Rule]] = match consent {
        Consent::Withheld => &[&RULES],
        Consent::Given => &[&RULES, &DISRUPTIVE_RULES],
    };
    Ok(Rights {
        missing: needed
            .iter()
            .copied()
            .flatten()
            .filter_map(|rule| missing(rule, &own))
            .collect(),
        reads_helm_release: missing(&HELM_RULE, &helm).is_none(),
        is_incomplete,
    })
}

/// On how many of the nodes the image is, as their kubelets report it, and how many nodes there are.
///
/// # Errors
/// The nodes cannot be listed.
pub async fn nodes_with_image(client: &ClusterClient, reference: &str) -> Result<(usize, usize), ApiError> {
    let nodes = client.list_global::<Node>(&ListParams::default()).await?;
    let with = nodes.iter().filter(|node| has_image(node, reference)).count();
    Ok((with, nodes.len()))
}

fn has_image(node: &Node, reference: &str) -> bool {
    let images = node.status.iter().flat_map(|status| status.images.iter().flatten());
    let mut names = images.flat_map(|image| image.names.iter().flatten());
    // Docker Hub's names are stored in full.
    names.any(|name| name == reference || name.strip_prefix("docker.io/").is_some_and(|rest| rest == reference))
}

async fn rules(client: &ClusterClient, namespace: &str) -> Result<(Vec<ResourceRule>, bool), ApiError> {
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let api: Api<SelfSubjectRulesReview> = Api::all(client.kube());
    let operation = Operation::on("create", "selfsubjectrulesreviews.authorization.k8s.io");
    let review = client
        .call(operation, api.create(&PostParams::default(), &review))
        .await?;
    let status = review.status.unwrap_or_default();
    Ok((status.resource_rules, status.incomplete))
}

fn missing(rule: &Rule, allowed: &[ResourceRule]) -> Option<MissingRight> {
    let pairs = rule
        .resources
        .iter()
        .flat_map(|resource| rule.verbs.iter().map(move |verb| (resource, verb)));
    let denied: Vec<String> = pairs
        .filter(|(resource, verb)| !is_allowed(rule, resource, verb, allowed))
        .map(|(resource, verb)| format!("{verb} {resource}"))
        .collect();
    (!denied.is_empty()).then(|| MissingRight {
        rule: *rule,
        what: denied.join(", "),
    })
}

/// Whether rules allow it for all objects that are needed.
fn is_allowed(rule: &Rule, resource: &str, verb: &str, allowed: &[ResourceRule]) -> bool {
    let has = |list: Option<&Vec<String>>, wanted: &str| {
        list.is_some_and(|list| list.iter().any(|entry| entry == "*" || entry == wanted))
    };
    let subresource = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let covers = |one: &&ResourceRule| {
        let is_resource = has(one.resources.as_ref(), resource)
            || subresource.as_ref().is_some_and(|sub| has(one.resources.as_ref(), sub));
        has(one.api_groups.as_ref(), rule.group) && is_resource && has(Some(&one.verbs), verb)
    };
    let names = |one: &ResourceRule| one.resource_names.clone().unwrap_or_default();
    let covering: Vec<&ResourceRule> = allowed.iter().filter(covers).collect();
    covering.iter().any(|one| names(one).is_empty())
        || (!rule.names.is_empty()
            && rule
                .names
                .iter()
                .all(|name| covering.iter().any(|one| names(one).iter().any(|other| other == name))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::cluster_role;

    fn allowed(rules: &serde_json::Value) -> Vec<ResourceRule> {
        serde_json::from_value(rules.clone()).expect("rules")
    }

    #[test]
    fn the_printed_role_misses_nothing_and_an_admin_neither() {
        let admin = serde_json::json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        for rules in [allowed(&cluster_role()["rules"]), allowed(&admin)] {
            let all: Vec<_> = RULES.iter().filter_map(|rule| missing(rule, &rules)).collect();
            assert_eq!(all, []);
        }
    }

    #[test]
    fn what_is_missing_is_named_by_verb_and_resource() {
        let mut role = cluster_role();
        for rule in role["rules"].as_array_mut().expect("rules") {
            if rule["resources"] == serde_json::json!(["pods"]) {
                rule["verbs"] = serde_json::json!(["get", "list", "watch", "create", "patch"]);
            }
        }
        let rules = allowed(&role["rules"]);
        let all: Vec<_> = RULES.iter().filter_map(|rule| missing(rule, &rules)).collect();
        let told: Vec<(&str, bool)> = all.iter().map(|one| (one.what.as_str(), one.is_required())).collect();
        assert_eq!(told, [("delete pods", true)]);
        // Rights on other objects of the kind are none.
        let named = serde_json::json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"],
                                        "resourceNames": ["another"]}]);
        let certificates = RULES
            .iter()
            .find(|rule| rule.names == ["cilium-clustermesh"])
            .expect("the rule");
        assert!(missing(certificates, &allowed(&named)).is_some_and(|one| !one.is_required()));
    }
}
