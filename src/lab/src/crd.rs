//! Cilium's resources by name, and the definitions that its operator installs: names, scopes, versions and columns as
//! in Cilium 1.18.3. Schemas are left open but for policies: the lab's API server stores what it is given.

use meshproof_apiserver::Resource;
use serde_json::{Value, json};

mod policy_schema;

/// CiliumNodes.
pub const CILIUM_NODES: Resource = Resource::of("cilium.io", "ciliumnodes");
/// CiliumEndpoints.
pub const CILIUM_ENDPOINTS: Resource = Resource::of("cilium.io", "ciliumendpoints");
/// CiliumIdentities.
pub const CILIUM_IDENTITIES: Resource = Resource::of("cilium.io", "ciliumidentities");
/// CiliumLoadBalancerIPPools.
pub const CILIUM_POOLS: Resource = Resource::of("cilium.io", "ciliumloadbalancerippools");
const V2: &[&str] = &["v2"];
const BOTH: &[&str] = &["v2", "v2alpha1"];
const ALPHA: &[&str] = &["v2alpha1"];
/// Columns: name, type, path, priority.
type Columns = &'static [(&'static str, &'static str, &'static str, i32)];
const AGE: (&str, &str, &str, i32) = ("Age", "date", ".metadata.creationTimestamp", 0);
const VALID: (&str, &str, &str, i32) = ("Valid", "string", ".status.conditions[?(@.type=='Valid')].status", 0);
const NODE_COLUMNS: Columns = &[
    (
        "CiliumInternalIP",
        "string",
        ".spec.addresses[?(@.type==\"CiliumInternalIP\")].ip",
        0,
    ),
    (
        "InternalIP",
        "string",
        ".spec.addresses[?(@.type==\"InternalIP\")].ip",
        0,
    ),
    AGE,
];
const ENDPOINT_COLUMNS: Columns = &[
    ("Security Identity", "integer", ".status.identity.id", 0),
    ("Ingress Enforcement", "string", ".status.policy.ingress.state", 1),
    ("Egress Enforcement", "string", ".status.policy.egress.state", 1),
    ("Endpoint State", "string", ".status.state", 0),
    ("IPv4", "string", ".status.networking.addressing[0].ipv4", 0),
    ("IPv6", "string", ".status.networking.addressing[0].ipv6", 0),
];
const POOL_COLUMNS: Columns = &[
    ("Disabled", "boolean", ".spec.disabled", 0),
    (
        "Conflicting",
        "string",
        ".status.conditions[?(@.type==\"cilium.io/PoolConflict\")].status",
        0,
    ),
    (
        "IPs Available",
        "string",
        ".status.conditions[?(@.type==\"cilium.io/IPsAvailable\")].message",
        0,
    ),
    AGE,
];

struct Definition {
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    scope: &'static str,
    versions: &'static [&'static str],
    columns: Columns,
}

const fn definition(
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    scope: &'static str,
    versions: &'static [&'static str],
    columns: Columns,
) -> Definition {
    Definition {
        kind,
        plural,
        short,
        scope,
        versions,
        columns,
    }
}

const DEFINITIONS: [Definition; 10] = [
    definition("CiliumCIDRGroup", "ciliumcidrgroups", &["ccg"], "Cluster", BOTH, &[AGE]),
    definition(
        "CiliumClusterwideNetworkPolicy",
        "ciliumclusterwidenetworkpolicies",
        &["ccnp"],
        "Cluster",
        V2,
        &[VALID],
    ),
    definition(
        "CiliumEndpoint",
        "ciliumendpoints",
        &["cep", "ciliumep"],
        "Namespaced",
        V2,
        ENDPOINT_COLUMNS,
    ),
    definition(
        "CiliumIdentity",
        "ciliumidentities",
        &["ciliumid"],
        "Cluster",
        V2,
        &[
            (
                "Namespace",
                "string",
                ".metadata.labels.io\\.kubernetes\\.pod\\.namespace",
                0,
            ),
            AGE,
        ],
    ),
    definition(
        "CiliumL2AnnouncementPolicy",
        "ciliuml2announcementpolicies",
        &["l2announcement"],
        "Cluster",
        ALPHA,
        &[AGE],
    ),
    definition(
        "CiliumLoadBalancerIPPool",
        "ciliumloadbalancerippools",
        &["ippools", "ippool", "lbippool", "lbippools"],
        "Cluster",
        BOTH,
        POOL_COLUMNS,
    ),
    definition(
        "CiliumNetworkPolicy",
        "ciliumnetworkpolicies",
        &["cnp", "ciliumnp"],
        "Namespaced",
        V2,
        &[AGE, VALID],
    ),
    definition("CiliumNodeConfig", "ciliumnodeconfigs", &[], "Namespaced", BOTH, &[]),
    definition(
        "CiliumNode",
        "ciliumnodes",
        &["cn", "ciliumn"],
        "Cluster",
        V2,
        NODE_COLUMNS,
    ),
    definition("CiliumPodIPPool", "ciliumpodippools", &["cpip"], "Cluster", ALPHA, &[]),
];

/// The CustomResourceDefinitions.
pub(super) fn definitions() -> Vec<Value> {
    DEFINITIONS.iter().map(Definition::object).collect()
}

impl Definition {
    fn object(&self) -> Value {
        let columns = self.columns.iter().map(|(name, kind, path, priority)| {
            let mut column = json!({"name": name, "type": kind, "jsonPath": path});
            if *priority > 0 {
                column["priority"] = json!(priority);
            }
            column
        });
        let columns: Vec<Value> = columns.collect();
        let versions: Vec<_> = self
            .versions
            .iter()
            .enumerate()
            .map(|(index, version)| {
                let schema = match self.kind {
                    "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" => policy_schema::schema(),
                    _ => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
                };
                let mut value = json!({
                    "name": version,
                    "served": true,
                    "storage": index == 0,
                    "schema": {"openAPIV3Schema": schema},
                });
                // CiliumEndpoint and CiliumNode have had a status subresource since 1.5 resp. 1.6; identities have
                // none.
                if self.kind != "CiliumIdentity" && self.kind != "CiliumEndpoint" {
                    value["subresources"] = json!({"status": {}});
                }
                if !columns.is_empty() {
                    value["additionalPrinterColumns"] = json!(columns);
                }
                if *version == "v2alpha1" && matches!(self.kind, "CiliumCIDRGroup" | "CiliumNodeConfig") {
                    value["deprecated"] = json!(true);
                }
                value
            })
            .collect();
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_lowercase(),
            "categories": ["cilium"],
        });
        if !self.short.is_empty() {
            names["shortNames"] = json!(self.short);
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{}.cilium.io", self.plural),
                "labels": {"io.cilium.k8s.crd.schema.version": "1.31.11"},
            },
            "spec": {"group": "cilium.io", "names": names, "scope": self.scope, "versions": versions},
        })
    }
}

/// What operators install before they turn on `gatewayAPI.enabled`: Cilium's chart does not bring it.
pub fn gateway_api() -> Vec<Value> {
    let kinds = [
        ("GatewayClass", "gatewayclasses", "Cluster"),
        ("Gateway", "gateways", "Namespaced"),
        ("HTTPRoute", "httproutes", "Namespaced"),
    ];
    let definition = |(kind, plural, scope): (&str, &str, &str)| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{plural}.gateway.networking.k8s.io"),
                "annotations": {"gateway.networking.k8s.io/bundle-version": "v1.3.0"},
            },
            "spec": {
                "group": "gateway.networking.k8s.io", "scope": scope,
                "names": {
                    "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase(),
                },
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        })
    };
    kinds.map(definition).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshproof_apiserver::{Store, resource::names::CUSTOM_RESOURCE_DEFINITIONS};

    #[test]
    fn the_api_server_takes_and_serves_every_definition() {
        let store = Store::new();
        for definition in definitions() {
            store.create(&CUSTOM_RESOURCE_DEFINITIONS, definition).unwrap();
        }
        for resource in [CILIUM_NODES, CILIUM_ENDPOINTS, CILIUM_IDENTITIES] {
            let served = store.definition(&resource).unwrap();
            assert_eq!(served.api_version(), "cilium.io/v2");
        }
    }
}
