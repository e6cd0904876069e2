//! One side of a flow: what the policies that select the endpoint there say.

use super::Expected;
use crate::{
    endpoint::Endpoint,
    flow::{Flow, Party, Request},
    model::{self, Authentication, Direction, Effect, L7, Policy, Port, Rule},
    semantics::{DnsRefusal, EgressDenial, Semantics},
};

/// The endpoint that is judged, its peer, and what the judgement depends on.
pub(super) struct Side<'a> {
    pub policies: &'a [Policy],
    pub semantics: &'a Semantics,
    pub flow: &'a Flow,
    pub direction: Direction,
    pub own: &'a Endpoint,
    pub peer: &'a Party,
}

/// A rule that matches the flow, with the ports by which it does; no port is every port.
type Matching<'a> = (&'a Policy, &'a Rule, Vec<&'a Port>);

impl Side<'_> {
    /// None when no policy selects this side's endpoint in this direction.
    pub fn decide(&self) -> Option<(Expected, String)> {
        let selecting: Vec<(&Policy, &model::Side)> = self
            .policies
            .iter()
            .filter(|policy| policy.selects(self.own))
            .map(|policy| (policy, policy.side(self.direction)))
            .collect();
        let matching: Vec<Matching<'_>> = selecting
            .iter()
            .flat_map(|(policy, side)| side.rules.iter().map(|rule| (*policy, rule)))
            .filter(|(policy, rule)| self.peers_match(policy, &rule.peers))
            .filter_map(|(policy, rule)| Some((policy, rule, self.matching_ports(&rule.ports)?)))
            .collect();

        // Deny takes precedence over allow (docs.cilium.io, "Deny Policies").
        if let Some((policy, rule, _)) = matching.iter().find(|(_, rule, _)| rule.effect == Effect::Deny) {
            return Some((self.denied(), format!("{} {} denies it", policy.name, rule.place)));
        }
        if !matching.is_empty() {
            return Some(self.allowed_by(&matching));
        }
        // The kubelet's probes must reach pods (agent option allow-localhost=auto).
        if self.direction == Direction::Ingress && self.is_local_host() {
            return Some((
                Expected::Allowed,
                "traffic from the local host is always allowed".to_owned(),
            ));
        }
        let (policy, _) = selecting.iter().find(|(_, side)| side.default_deny)?;
        let reason = format!("no rule allows it, and {} sets default deny", policy.name);
        Some((self.denied(), reason))
    }

    /// What becomes of a flow that policy denies: only the pod whose own egress is denied may get an ICMP error.
    fn denied(&self) -> Expected {
        match (self.direction, self.semantics.egress_denial) {
            (Direction::Egress, EgressDenial::Icmp) => Expected::Unreachable,
            _ => Expected::Dropped,
        }
    }

    fn allowed_by(&self, matching: &[Matching<'_>]) -> (Expected, String) {
        let reason = |policy: &Policy, rule: &Rule| format!("{} {} allows it", policy.name, rule.place);
        for (policy, rule, _) in matching {
            match rule.authentication {
                Authentication::AlwaysFail => {
                    let place = format!("{} {}", policy.name, rule.place);
                    let reason = format!("{place} requires an authentication that always fails");
                    return (Expected::Dropped, reason);
                }
                Authentication::Required => return (Expected::AllowedIfAuthenticated, reason(policy, rule)),
                Authentication::Disabled => {}
            }
        }
        // Rules are alternatives: one without an L7 part opens the port to every request.
        let plain = |ports: &[&Port]| ports.is_empty() || ports.iter().any(|port| matches!(port.l7, L7::None));
        if let Some((policy, rule, _)) = matching.iter().find(|(_, _, ports)| plain(ports)) {
            return (Expected::Allowed, reason(policy, rule));
        }
        let mut fitting = matching
            .iter()
            .filter(|(_, _, ports)| ports.iter().any(|port| self.request_matches(&port.l7)));
        match (fitting.next(), matching.first()) {
            (Some((policy, rule, _)), _) => (Expected::Allowed, reason(policy, rule)),
            (None, first) => {
                let expected = match (&self.flow.request, self.semantics.dns_refusal) {
                    (Request::Dns(_), DnsRefusal::Refused) => Expected::DnsRefused,
                    (Request::Dns(_), DnsRefusal::NameError) => Expected::DnsNameError,
                    _ => Expected::Forbidden,
                };
                let place = first
                    .map(|(policy, rule, _)| format!("{} {}", policy.name, rule.place))
                    .unwrap_or_default();
                let reason = format!("{place} opens the port, and no L7 rule allows this request");
                (expected, reason)
            }
        }
    }
}
