//! `toServices`: a service with a selector stands for the pods that it selects, one without for the addresses of its
//! endpoints.

use super::{
    rule::{Clause, Peer, Peers, Ports, Rule, ServiceReference},
    selector::{NAMESPACE, Operator, Selector},
};
use crate::identity::SecurityLabels;
use meshproof_apiserver::Object;
use serde_json::json;
use std::net::Ipv4Addr;

/// The rule with what its services stand for now. What is resolved to nothing leaves a clause without peers
/// (`pkg/policy/k8s/service.go`): its ports are open to anybody. Clauses that deny are never resolved.
pub(super) fn resolve(mut rule: Rule, services: &[Object], slices: &[Object]) -> Rule {
    for clause in &mut rule.egress.allow {
        resolve_clause(clause, |reference| {
            let meant = services.iter().filter(|service| is(reference, service));
            meant.filter_map(|service| stands_for(service, slices)).collect()
        });
    }
    for clause in &mut rule.egress.deny {
        resolve_clause(clause, |_| Vec::new());
    }
    rule
}

fn resolve_clause(clause: &mut Clause, stands_for: impl Fn(&ServiceReference) -> Vec<Peer>) {
    let Peers::Of(peers) = &mut clause.peers else { return };
    let names_services = peers.iter().any(|peer| matches!(peer, Peer::Service(_)));
    let resolved = peers.drain(..).flat_map(|peer| match peer {
        Peer::Service(reference) => stands_for(&reference),
        other => vec![other],
    });
    let resolved: Vec<_> = resolved.collect();
    clause.peers = if resolved.is_empty() && names_services {
        Peers::without_members(clause.ports != Ports::All)
    } else {
        Peers::Of(resolved)
    };
}

fn is(reference: &ServiceReference, service: &Object) -> bool {
    match reference {
        ServiceReference::Name { namespace, name } => service.name() == name && service.namespace() == Some(namespace),
        ServiceReference::Labels { namespace, selector } => {
            let labels: SecurityLabels = service
                .labels()
                .iter()
                .map(|(key, value)| (format!("k8s:{key}"), (*value).to_owned()))
                .collect();
            namespace
                .as_deref()
                .is_none_or(|namespace| service.namespace() == Some(namespace))
                && selector.matches(&labels)
        }
    }
}

/// None for a service without selector that has no endpoints.
fn stands_for(service: &Object, slices: &[Object]) -> Option<Peer> {
    let namespace = service.namespace().unwrap_or_default();
    let selected = &service["spec"]["selector"];
    if selected.as_object().is_some_and(|labels| !labels.is_empty())
        && let Ok(selector) = Selector::parse(&json!({"matchLabels": selected}))
    {
        let in_namespace = selector.and(NAMESPACE, Operator::In(vec![namespace.to_owned()]));
        return Some(Peer::Labels(in_namespace));
    }
    let own = slices.iter().filter(|slice| {
        slice.namespace() == Some(namespace) && slice.label("kubernetes.io/service-name") == Some(service.name())
    });
    let endpoints = own.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let addresses = endpoints.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    let addresses = addresses.filter_map(|address| address.as_str()?.parse::<Ipv4Addr>().ok());
    let addresses: Vec<Ipv4Addr> = addresses.collect();
    (!addresses.is_empty()).then_some(Peer::Addresses(addresses))
}
