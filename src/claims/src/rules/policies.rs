//! Policies that Cilium or the API server rejects, and parts of policies that mean nothing or not what they say.

mod sections;
mod toports;

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    place::Place,
    policy::{Direction, Kind, Spec},
};

/// A policy that is not in force.
pub const INVALID: Rule = Rule {
    id: "policy-invalid",
    severity: Severity::Error,
    finds: "A policy is one that the API server or Cilium rejects.",
    reason: "It is not in force, and where an older version of it was, that one stays (A20, A22, A34, A35, A41, A45, \
             A50). Only the condition Valid of the object says so.",
};

/// A part that is ignored or opens more than it says.
pub const IGNORED: Rule = Rule {
    id: "policy-ignored",
    severity: Severity::Warning,
    finds: "A part of a policy has no effect, or another one than it says.",
    reason: "Cilium accepts it and ignores it, or reads it in its own way (A20, A23, A24, A26, A28, A32, A34, A42).",
};

/// A default deny that admits everybody.
pub const ADMITS_ALL: Rule = Rule {
    id: "default-deny-admits-all",
    severity: Severity::Warning,
    finds: "A policy is named a default deny and admits every pod and node of the cluster.",
    reason: "Entity cluster is all pods of the own cluster and the nodes of every cluster; the other clusters' pods \
             are not in it (A38). What is not allowed is denied already by the section being there.",
};

/// An L7 parser that does not exist.
pub const UNKNOWN_PARSER: Rule = Rule {
    id: "l7-parser-unknown",
    severity: Severity::Error,
    finds: "A policy names an L7 protocol for which Cilium's Envoy has no parser.",
    reason: "Every connection that the rule admits is reset (A28). There are cassandra, kafka, memcached and r2d2.",
};

/// What a rule says about one spec.
pub(super) struct Judge<'a, 'b> {
    pub context: &'a Context<'a>,
    pub spec: &'a Spec<'a>,
    pub out: &'b mut Findings,
}

impl Judge<'_, '_> {
    pub(super) fn invalid(&mut self, place: Place, what: impl AsRef<str>) {
        let what = format!("{}: the policy is rejected and not in force", what.as_ref());
        self.out.add(&INVALID, place, what);
    }

    pub(super) fn ignored(&mut self, place: Place, what: impl Into<String>) {
        self.out.add(&IGNORED, place, what);
    }
}

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    for spec in &context.policies.specs {
        if spec.kind == Kind::Kubernetes {
            continue;
        }
        let mut judge = Judge { context, spec, out };
        sections::check(&mut judge);
        for direction in Direction::BOTH {
            for key in [direction.key(), direction.deny_key()] {
                for rule in spec.section(key) {
                    toports::check(&mut judge, direction, rule);
                }
            }
        }
        admits_all(spec, out);
    }
}

fn admits_all(spec: &Spec<'_>, out: &mut Findings) {
    let words = spec.document.name.to_lowercase();
    if !words.contains("deny") {
        return;
    }
    for direction in Direction::BOTH {
        for allow in spec.allows(direction).iter().filter(|allow| !allow.has_ports()) {
            let entities = [allow.texts("fromEntities"), allow.texts("toEntities")].concat();
            let Some(entity) = entities.iter().find(|entity| ["cluster", "all"].contains(*entity)) else {
                continue;
            };
            let others = match *entity {
                "cluster" => " (other clusters' pods are not in entity cluster)",
                _ => "",
            };
            let what = format!(
                "{} is named a default deny and admits everything of entity {entity}{others}",
                spec.document.name
            );
            out.add(&ADMITS_ALL, allow.node.place, what);
        }
    }
}
