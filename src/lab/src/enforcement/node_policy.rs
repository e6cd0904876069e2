//! The rules of a node as the data path asks them.

use super::{
    decide::{DNS_EGRESS, Decision, Flow, HTTP_EGRESS, HTTP_INGRESS, NodeRules, Refusal},
    rule::Layer7,
};
use meshproof_datapath::{Direction, FlowQuery, Policy, Verdict};
use std::sync::Arc;

/// The rules as the data path asks them.
pub(crate) struct NodePolicy(pub Arc<NodeRules>);

impl Policy for NodePolicy {
    fn verdict(&mut self, query: &FlowQuery) -> Verdict {
        let flow = Flow {
            direction: query.direction,
            endpoint: query.endpoint,
            endpoint_identity: query.endpoint_identity,
            remote: query.remote,
            remote_identity: query.remote_identity,
            protocol: query.protocol,
            port: query.port,
            icmp: query.icmp,
        };
        match self.0.decide(&flow) {
            Decision::Allow => Verdict::Allow,
            Decision::Deny(_) if self.0.set.leak > 0.0 && rand::random::<f64>() < self.0.set.leak => Verdict::Allow,
            Decision::Deny(reason) => match self.0.set.refusal {
                Refusal::Silence => Verdict::Deny(reason),
                Refusal::Answer => Verdict::Reject(reason),
            },
            // Of two proxies Envoy is the stronger redirect.
            Decision::Proxy(rules, _) => match (query.direction, rules.iter().all(is_dns)) {
                (Direction::Egress, true) => Verdict::Redirect(DNS_EGRESS),
                (Direction::Egress, false) => Verdict::Redirect(HTTP_EGRESS),
                (Direction::Ingress, _) => Verdict::Redirect(HTTP_INGRESS),
            },
        }
    }
}

fn is_dns(rules: &Layer7) -> bool {
    matches!(rules, Layer7::Dns(_))
}
