//! CiliumNetworkPolicies and CiliumClusterwideNetworkPolicies read into rules. What makes no sense is an error in the
//! words of `pkg/policy/api/rule_validation.go`. The rules of the documentation that matter here: a section that is
//! there but empty selects nobody, a clause that names neither peers nor ports allows nothing, a peer without a
//! namespace is one of the policy's own namespace.

mod peer;
mod port;

use super::{
    rule::{Authentication, Clause, PolicyKind, Rule, Side},
    selector::{NAMESPACE, Operator, Selector},
};
use serde_json::{Value, json};

/// What reading depends on besides the object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The cluster's name.
    pub cluster: String,
    /// Whether peers without a cluster are the cluster's own (`policy-default-local-cluster`, the default since 1.19).
    pub local_by_default: bool,
    /// Whether NetworkPolicies that admit an ipBlock are refused, as before 1.19 with `policy-default-local-cluster`.
    pub refuses_blocks: bool,
    /// Whether there is a proxy (`enable-l7-proxy`).
    pub proxy: bool,
}

/// The rules of a policy.
///
/// # Errors
/// Why Cilium would not take it.
pub(crate) fn read(kind: PolicyKind, object: &Value, reading: &Reading) -> Result<Vec<Rule>, String> {
    let specs: Vec<&Value> = [&object["spec"]]
        .into_iter()
        .filter(|spec| !spec.is_null())
        .chain(object["specs"].as_array().into_iter().flatten())
        .collect();
    if specs.is_empty() {
        return Err(format!("Invalid {} spec(s), empty policy", kind.as_str()));
    }
    specs
        .into_iter()
        .map(|spec| Reader::new(kind, object, spec, reading).rule())
        .collect()
}

/// One rule being read.
struct Reader<'a> {
    kind: PolicyKind,
    object: &'a Value,
    spec: &'a Value,
    reading: &'a Reading,
    /// Empty for clusterwide policies.
    namespace: &'a str,
}

/// Which way a clause is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ingress,
    Egress,
}

impl<'a> Reader<'a> {
    fn new(kind: PolicyKind, object: &'a Value, spec: &'a Value, reading: &'a Reading) -> Self {
        let namespace = match kind {
            PolicyKind::Clusterwide => "",
            _ => object["metadata"]["namespace"].as_str().unwrap_or_default(),
        };
        Self {
            kind,
            object,
            spec,
            reading,
            namespace,
        }
    }

    fn rule(&self) -> Result<Rule, String> {
        let spec = self.spec;
        let some = |field: &str| spec[field].as_array().is_some_and(|list| !list.is_empty());
        if !["ingress", "ingressDeny", "egress", "egressDeny"]
            .iter()
            .any(|field| some(field))
        {
            return Err("rule must have at least one of Ingress, IngressDeny, Egress, EgressDeny".into());
        }
        let subject = self.subject()?;
        for field in ["fromRequires", "toRequires"] {
            if self.clauses().any(|clause| !clause[field].is_null()) {
                return Err(format!("{field} is deprecated, and the lab does not know it"));
            }
        }
        let ingress = self.side(Way::Ingress, "ingress", "ingressDeny")?;
        let egress = self.side(Way::Egress, "egress", "egressDeny")?;
        let shown = self.shown(&subject, &ingress, &egress);
        Ok(Rule {
            kind: self.kind,
            uid: self.object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            subject,
            ingress,
            egress,
            shown,
        })
    }

    fn clauses(&self) -> impl Iterator<Item = &Value> {
        let sections = ["ingress", "ingressDeny", "egress", "egressDeny"].into_iter();
        sections.flat_map(|field| self.spec[field].as_array().into_iter().flatten())
    }

    fn subject(&self) -> Result<Selector, String> {
        match (&self.spec["endpointSelector"], &self.spec["nodeSelector"]) {
            (Value::Null, Value::Null) => Err("rule must have one of EndpointSelector or NodeSelector".into()),
            (Value::Null, _) => {
                // Host policies: the lab has no host firewall (`enable-host-firewall` is not set), so they select
                // nobody.
                Ok(Selector::default().and("meshproof.dev/none", Operator::Exists))
            }
            (selector, Value::Null) => {
                let mut selector = Selector::parse(selector)?;
                if !self.namespace.is_empty() {
                    // A policy never reaches beyond its namespace, whatever its selector says.
                    selector.0.retain(|requirement| requirement.key != NAMESPACE);
                    selector = selector.and(NAMESPACE, Operator::In(vec![self.namespace.to_owned()]));
                }
                Ok(selector)
            }
            _ => Err("rule cannot have both EndpointSelector and NodeSelector".into()),
        }
    }

    fn side(&self, way: Way, allow: &str, deny: &str) -> Result<Side, String> {
        let clauses = |field: &str| {
            let clauses = self.spec[field].as_array().into_iter().flatten();
            clauses
                .map(|clause| self.clause(way, clause, field == deny))
                .collect::<Result<Vec<_>, _>>()
        };
        let (allow, deny) = (clauses(allow)?, clauses(deny)?);
        let named = match way {
            Way::Ingress => "ingress",
            Way::Egress => "egress",
        };
        let stated = self.spec["enableDefaultDeny"][named].as_bool();
        let default_deny = stated.unwrap_or(!allow.is_empty() || !deny.is_empty());
        Ok(Side {
            default_deny,
            allow,
            deny,
        })
    }

    fn clause(&self, way: Way, clause: &Value, denies: bool) -> Result<Clause, String> {
        let ports = port::read(clause, way, self.reading.proxy)?;
        if denies && ports.has_layer7() {
            return Err("L7 rules are not supported in deny rules".into());
        }
        let peers = self.peers(way, clause)?;
        let authentication = match clause["authentication"]["mode"].as_str() {
            None if clause["authentication"].is_null() => None,
            None | Some("") => return Err("authentication needs a mode".into()),
            Some("disabled") => Some(Authentication::Disabled),
            Some("required") => Some(Authentication::Required),
            Some("test-always-fail") => Some(Authentication::AlwaysFail),
            Some(other) => return Err(format!("unsupported authentication mode: {other}")),
        };
        Ok(Clause {
            peers,
            ports,
            authentication,
        })
    }

    fn shown(&self, subject: &Selector, ingress: &Side, egress: &Side) -> Value {
        let mut shown = json!({"endpointSelector": subject.shown()});
        for field in ["ingress", "ingressDeny", "egress", "egressDeny"] {
            let Some(clauses) = self.spec[field].as_array().filter(|list| !list.is_empty()) else {
                continue;
            };
            shown[field] = clauses.iter().map(|clause| self.shown_clause(clause)).collect();
        }
        let metadata = &self.object["metadata"];
        let label = |key: &str, value: &str| {
            json!({
                "key": format!("io.cilium.k8s.policy.{key}"), "value": value, "source": "k8s",
            })
        };
        let mut labels = vec![
            label("derived-from", self.kind.as_str()),
            label("name", metadata["name"].as_str().unwrap_or_default()),
        ];
        if !self.namespace.is_empty() {
            labels.push(label("namespace", self.namespace));
        }
        labels.push(label("uid", metadata["uid"].as_str().unwrap_or_default()));
        shown["labels"] = Value::Array(labels);
        shown["enableDefaultDeny"] = json!({"ingress": ingress.default_deny, "egress": egress.default_deny});
        if let Some(description) = self.spec["description"].as_str() {
            shown["description"] = json!(description);
        }
        shown
    }

    fn shown_clause(&self, clause: &Value) -> Value {
        let mut shown = clause.clone();
        for field in ["fromEndpoints", "toEndpoints"] {
            for selector in shown[field].as_array_mut().into_iter().flatten() {
                if let Ok(read) = self.peer_selector(selector) {
                    *selector = read.shown();
                }
            }
            if shown[field].is_null()
                && let Some(fields) = shown.as_object_mut()
            {
                fields.remove(field);
            }
        }
        shown
    }
}
