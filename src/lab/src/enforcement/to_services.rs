//! `toServices`: a service with a selector stands for the pods that it selects, one without for the addresses of its
//! endpoints.

use super::{
    rule::{Peer, Peers, Rule, ServiceReference},
    selector::{NAMESPACE, Operator, Selector},
};
use crate::identity::SecurityLabels;
use meshproof_apiserver::Object;
use serde_json::json;
use std::net::Ipv4Addr;

/// The rule with what its services stand for now.
pub(super) fn resolve(mut rule: Rule, services: &[Object], slices: &[Object]) -> Rule {
    for clause in rule.egress.allow.iter_mut().chain(&mut rule.egress.deny) {
        let Peers::Of(peers) = &mut clause.peers else { continue };
        *peers = peers
            .drain(..)
            .flat_map(|peer| match peer {
                Peer::Service(reference) => {
                    let meant = services.iter().filter(|service| is(&reference, service));
                    meant.map(|service| stands_for(service, slices)).collect()
                }
                other => vec![other],
            })
            .collect();
    }
    rule
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

fn stands_for(service: &Object, slices: &[Object]) -> Peer {
    let namespace = service.namespace().unwrap_or_default();
    let selected = &service["spec"]["selector"];
    if selected.as_object().is_some_and(|labels| !labels.is_empty())
        && let Ok(selector) = Selector::parse(&json!({"matchLabels": selected}))
    {
        return Peer::Labels(selector.and(NAMESPACE, Operator::In(vec![namespace.to_owned()])));
    }
    let own = slices.iter().filter(|slice| {
        slice.namespace() == Some(namespace) && slice.label("kubernetes.io/service-name") == Some(service.name())
    });
    let endpoints = own.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let addresses = endpoints.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    Peer::Addresses(
        addresses
            .filter_map(|address| address.as_str()?.parse::<Ipv4Addr>().ok())
            .collect(),
    )
}
