//! When a host stays closed under a rule that names it: has the agent the rule's label on the address?

use super::judged_cell::JudgedCell;
use crate::{
    kit::{
        cilium::fqdn_labels::{self, Labelled},
        recent::{self, Age},
    },
    policy::{
        cell::{CellResult, Traffic},
        fixture::Fixture,
    },
};
use meshproof_contract::{CheckContext, CiliumQuery, NodeName, Outcome};
use meshproof_oracle::Expected;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Asks the agents while the policies are in force; none where no host that they name stays silent, or no agent has a
/// label of any name on it.
pub async fn labels(
    context: &CheckContext,
    fixture: &Fixture,
    policies: &[Value],
    cells: &[JudgedCell],
    results: &[CellResult],
) -> Option<Labelled> {
    let selectors = fqdn_labels::selectors(policies);
    let closed: BTreeSet<(&NodeName, IpAddr)> = cells
        .iter()
        .zip(results)
        .filter(|(judged, result)| is_closed_by_name(judged, result))
        .map(|(judged, _)| (&judged.cell.from.agent.node, judged.cell.to.agent.address))
        .collect();
    if selectors.is_empty() || closed.is_empty() {
        return None;
    }
    let ask = |query| recent::cilium(context, &fixture.cluster, query, Age::now());
    let (ipcaches, identities) = futures::join!(ask(CiliumQuery::Ipcache), ask(CiliumQuery::Identities));
    let (ipcaches, identities) = (ipcaches.ok()?, identities.ok()?);
    let of_node = |answers: &[meshproof_contract::CiliumAnswer], node: &NodeName| {
        let answer = answers.iter().find(|answer| answer.node == *node)?;
        answer.output.clone().ok()
    };
    let mut others: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (node, address) in closed {
        let (ipcache, identities) = (of_node(&ipcaches, node)?, of_node(&identities, node)?);
        let names = fqdn_labels::of(&ipcache, &identities, address)?;
        if names.iter().any(|name| selectors.contains(name)) {
            return Some(Labelled::ByPolicy);
        }
        if !names.is_empty() {
            others.insert(format!("{address} on {node}"), names);
        }
    }
    (!others.is_empty()).then_some(Labelled::ByOthers(others))
}

fn is_closed_by_name(judged: &JudgedCell, result: &CellResult) -> bool {
    let by_name = matches!(judged.cell.traffic, Traffic::ConnectByName { .. });
    let silent = matches!(result, CellResult::Mismatch(Outcome::Timeout { .. }));
    by_name && silent && judged.decision.expected == Expected::Allowed
}
