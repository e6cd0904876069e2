//! The run's own allow policies: with them probes reach each other, their nodes and cluster DNS also where a cluster
//! denies by default. They deny nothing and restrict nobody, and select probe pods only.

use super::ManifestBuilder;
use crate::name::{ALLOW_POLICY, ALLOW_UNPROXIED_POLICY, ALLOWANCE, operators_namespace, workload_namespace};
use meshproof_contract::{facts::PodNetwork, port};
use meshproof_scenario::{Allowance, Scenario};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The port of DNS.
const DNS: u16 = 53;

/// The label of a workload's pods that are not opened for everything.
pub(super) fn label(allowance: Allowance) -> Map<String, Value> {
    let value = match allowance {
        Allowance::Everything => return Map::new(),
        Allowance::Unproxied => "unproxied",
        Allowance::Nothing => "nothing",
    };
    [(ALLOWANCE.to_owned(), json!(value))].into_iter().collect()
}

impl ManifestBuilder<'_> {
    /// The allow policies for the pods of these scenarios, CiliumNetworkPolicies in the pods' namespaces.
    pub fn allow_policies(&self, scenarios: &[Scenario]) -> Vec<Value> {
        let pods = scenarios.iter().flat_map(|scenario| {
            let workloads = scenario.workloads_in(self.cluster);
            workloads.filter(|workload| workload.network == PodNetwork::Pod)
        });
        // In their own namespaces the operators alone decide.
        let pods = pods.filter(|workload| operators_namespace(workload).is_none());
        let wanted = pods.filter(|workload| workload.allowance != Allowance::Nothing);
        let wanted: BTreeSet<_> = wanted
            .map(|workload| {
                (
                    workload_namespace(workload),
                    workload.allowance == Allowance::Everything,
                )
            })
            .collect();
        let policies = wanted.into_iter().map(|(namespace, everything)| match everything {
            true => self.policy(ALLOW_POLICY, namespace, everything_spec()),
            false => self.policy(ALLOW_UNPROXIED_POLICY, namespace, unproxied_spec()),
        });
        policies.collect()
    }

    fn policy(&self, name: &str, namespace: &str, mut spec: Value) -> Value {
        // Without this a policy would also deny what it does not allow.
        spec["enableDefaultDeny"] = json!({"ingress": false, "egress": false});
        json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": {"name": name, "namespace": namespace, "labels": crate::name::run_labels(self.run)},
            "spec": spec,
        })
    }
}

fn everything_spec() -> Value {
    json!({
        "description": "Probes of meshproof may send and receive everything.",
        "endpointSelector": {"matchExpressions": [{"key": ALLOWANCE, "operator": "DoesNotExist"}]},
        "ingress": [{"fromEntities": ["all"]}],
        "egress": [{"toEntities": ["all"]}],
    })
}

fn unproxied_spec() -> Value {
    let range =
        |from: u16, to: u16, protocol: &str| json!({"port": from.to_string(), "endPort": to, "protocol": protocol});
    let ports = json!([{"ports": [
        range(1, DNS - 1, "TCP"), range(DNS + 1, port::HTTP - 1, "TCP"), range(port::HTTP + 1, u16::MAX, "TCP"),
        range(1, DNS - 1, "UDP"), range(DNS + 1, u16::MAX, "UDP"),
    ]}]);
    json!({
        "description": "Probes of meshproof may receive everything, and send everything but HTTP and DNS.",
        "endpointSelector": {"matchLabels": {ALLOWANCE: "unproxied"}},
        "ingress": [{"fromEntities": ["all"]}],
        "egress": [{"toEntities": ["all"], "toPorts": ports}],
    })
}
