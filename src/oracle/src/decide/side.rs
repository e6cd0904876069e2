//! One side of a flow: what the policies that select the endpoint there say.

use super::{
    Expected, NotModelled, authentication,
    contradiction::{self, same_single_port},
    matching::Match,
};
use crate::{
    endpoint::Endpoint,
    flow::{Flow, Party, Request},
    model::{self, Authentication, Direction, Effect, L7, Policy},
    semantics::{DnsRefusal, EgressDenial, Surroundings},
};

/// The endpoint that is judged, its peer, and what the judgement depends on.
pub(super) struct Side<'a> {
    pub policies: &'a [Policy],
    pub surroundings: &'a Surroundings,
    pub flow: &'a Flow,
    pub direction: Direction,
    pub own: &'a Endpoint,
    pub peer: &'a Party,
}

impl Side<'_> {
    /// None when no policy selects this side's endpoint in this direction.
    pub fn decide(&self) -> Result<Option<(Expected, String)>, NotModelled> {
        let unnamed = self.surroundings.semantics.unnamed_cluster;
        let selecting = self.policies.iter().filter(|policy| policy.selects(self.own));
        let selecting: Vec<&Policy> = selecting.filter(|policy| !policy.is_refused(unnamed)).collect();
        contradiction::none_among(&selecting)?;
        let sides: Vec<(&Policy, &model::Side)> = selecting
            .iter()
            .map(|policy| (*policy, policy.side(self.direction)))
            .collect();
        let rules = sides
            .iter()
            .flat_map(|(policy, side)| side.rules.iter().map(|rule| (*policy, rule)));
        let matching: Vec<Match<'_>> = rules.flat_map(|(policy, rule)| self.matches(policy, rule)).collect();

        // Deny takes precedence over allow (docs.cilium.io, "Deny Policies"), also for the local host (semantics A5).
        if let Some(found) = matching.iter().find(|found| found.rule.effect == Effect::Deny) {
            return Ok(Some((self.denied(), format!("{} denies it", found.place()))));
        }
        let default_deny = sides
            .iter()
            .find(|(_, side)| side.default_deny)
            .map(|(policy, _)| policy);
        if !matching.is_empty() {
            return Ok(Some(self.allowed_by(&matching, default_deny.is_some())));
        }
        // The kubelet's probes must reach pods (semantics A6, agent option allow-localhost=auto).
        if self.is_from_local_host() {
            let reason = "traffic from the local host is always allowed".to_owned();
            return Ok(Some((Expected::Allowed, reason)));
        }
        Ok(default_deny.map(|policy| {
            let reason = format!("no rule allows it, and {} sets default deny", policy.name);
            (self.denied(), reason)
        }))
    }

    /// What becomes of a flow that policy denies: only the pod whose own egress is denied may get an ICMP error.
    fn denied(&self) -> Expected {
        match (self.direction, self.surroundings.semantics.egress_denial) {
            (Direction::Egress, EgressDenial::Icmp) => Expected::Unreachable,
            _ => Expected::Dropped,
        }
    }

    fn is_from_local_host(&self) -> bool {
        self.direction == Direction::Ingress && self.is_local_host()
    }

    fn allowed_by(&self, matching: &[Match<'_>], default_deny: bool) -> (Expected, String) {
        let mode = authentication::mode(matching, self.is_from_local_host());
        let place = matching.first().map(Match::place).unwrap_or_default();
        match (mode, self.peer) {
            (Authentication::AlwaysFail, _) => {
                let reason = format!("{place} allows it, with an authentication that always fails");
                return (self.denied(), reason);
            }
            // Reserved identities never authenticate (semantics A8, A17; pkg/auth/manager.go).
            (Authentication::Required, Party::Node { .. } | Party::World { .. }) => {
                let reason = format!("{place} allows it after authentication, which only pods can do");
                return (self.denied(), reason);
            }
            (Authentication::Required | Authentication::Disabled, _) => {}
        }
        let (expected, reason) = self.admitted(matching, default_deny);
        match (mode, expected) {
            (Authentication::Required, Expected::Allowed) => (Expected::AllowedIfAuthenticated, reason),
            _ => (expected, reason),
        }
    }

    /// What the proxies say, where rules that match hand the flow to one.
    fn admitted(&self, matching: &[Match<'_>], default_deny: bool) -> (Expected, String) {
        let proxied: Vec<&Match<'_>> = matching
            .iter()
            .filter(|found| !matches!(found.l7(), L7::None))
            .collect();
        let Some(first) = proxied.first() else {
            let place = matching.first().map(Match::place).unwrap_or_default();
            return (Expected::Allowed, format!("{place} allows it"));
        };
        if !default_deny {
            // An allow-everything rule is added to each list (semantics A3; pkg/policy/l4.go, createL4Filter).
            let reason = format!("{} has L7 rules, and no policy sets default deny", first.place());
            return (Expected::Allowed, reason);
        }
        if let Some(opener) = matching.iter().find(|found| self.opens_every_request(found, &proxied)) {
            return (Expected::Allowed, format!("{} allows every request", opener.place()));
        }
        if let Some(fitting) = proxied.iter().find(|found| self.request_matches(found.l7())) {
            return (Expected::Allowed, format!("{} allows it", fitting.place()));
        }
        let expected = match (&self.flow.request, self.surroundings.semantics.dns_refusal) {
            (Request::Dns(_), DnsRefusal::Refused) => Expected::DnsRefused,
            (Request::Dns(_), DnsRefusal::NameError) => Expected::DnsNameError,
            _ => Expected::Forbidden,
        };
        let reason = format!("{} opens the port, and no L7 rule allows this request", first.place());
        (expected, reason)
    }

    /// Whether a rule opens a proxied port to every request.
    fn opens_every_request(&self, found: &Match<'_>, proxied: &[&Match<'_>]) -> bool {
        match found.l7() {
            // L7 rules that contain the local host through a wildcard let it pass (semantics A7;
            // pkg/policy/l4.go, createL4IngressFilter).
            L7::Http(_) => found.peer.anybody && self.is_from_local_host(),
            L7::Dns(_) => false,
            // Envoy is told of every rule that opens the port, whatever its form (semantics A13); the DNS proxy knows
            // only rules of exactly the same port and protocol (semantics A14; pkg/fqdn/dnsproxy/proxy.go).
            L7::None => proxied
                .iter()
                .any(|proxied| match (proxied.l7(), proxied.port, found.port) {
                    (L7::Http(_), ..) => true,
                    (_, Some(one), Some(two)) => same_single_port(&one.which, &two.which),
                    _ => false,
                }),
        }
    }
}
