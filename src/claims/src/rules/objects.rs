//! Objects of Cilium: their API versions, and the features that they need.

use super::Context;
use crate::{
    finding::{Findings, Rule, Severity},
    sources::Document,
    yaml::Node,
};

/// Old API versions of Cilium.
pub const DEPRECATED_API: Rule = Rule {
    id: "cilium-api-deprecated",
    severity: Severity::Warning,
    finds: "An object is of an API version that Cilium 1.18 still serves and is about to remove.",
    reason: "v2alpha1 of pools, of BGP and of CiliumCIDRGroup has become v2; CiliumL2AnnouncementPolicy has v2alpha1 \
             only.",
};

/// Objects without their feature.
pub const FEATURE_OFF: Rule = Rule {
    id: "feature-off",
    severity: Severity::Warning,
    finds: "An object needs a feature of Cilium that is off in every cluster that it is for.",
    reason: "The object is accepted and does nothing (E4).",
};

/// A label that does nothing.
pub const POLICY_LABEL: Rule = Rule {
    id: "policy-enforcement-label",
    severity: Severity::Warning,
    finds: "A Namespace has the label or annotation cilium.io/policy-enforcement.",
    reason: "Cilium knows none of this name; policyEnforcementMode and policies decide (A46).",
};

const BGP: &[&str] = &[
    "CiliumBGPAdvertisement",
    "CiliumBGPClusterConfig",
    "CiliumBGPNodeConfigOverride",
    "CiliumBGPPeerConfig",
    "CiliumBGPPeeringPolicy",
];

pub(super) fn check(context: &Context<'_>, out: &mut Findings) {
    let pins = &context.layout.pins;
    // v2 of these came with 1.16 (BGP) to 1.18 (pools).
    let has_v2 = pins.iter().all(|pin| pin.range.is_none())
        || pins
            .iter()
            .filter_map(|pin| pin.range.as_ref())
            .any(|range| range.allows_minor(1, 18) || range.is_at_least((1, 18, 0)));
    for document in &context.sources.documents {
        if has_v2 {
            deprecated(document, out);
        }
        if let Some((what, features)) = needs(document)
            && features.iter().all(|feature| context.is_off(document.file(), feature))
        {
            let features = features.join(" and ");
            out.add(
                &FEATURE_OFF,
                document.place,
                format!("{what} does nothing: {features} is off"),
            );
        }
        if document.kind == "Namespace" {
            label(document, out);
        }
    }
}

fn deprecated(document: &Document, out: &mut Findings) {
    let kind = document.kind.as_str();
    let is_old = document.api == "cilium.io/v2alpha1"
        && (BGP.contains(&kind) || ["CiliumLoadBalancerIPPool", "CiliumCIDRGroup"].contains(&kind));
    if !is_old {
        return;
    }
    let instead = match kind {
        "CiliumBGPPeeringPolicy" => "use CiliumBGPClusterConfig, cilium.io/v2",
        _ => "use cilium.io/v2",
    };
    let blocks = document.node.items_at(&["spec", "blocks"]);
    let has_field = document.node.dig(&["spec", "allowFirstLastIPs"]).is_some();
    let is_moot = has_field && !blocks.is_empty() && blocks.iter().all(|block| block.get("cidr").is_none());
    let moot = if is_moot {
        "; allowFirstLastIPs has no effect on start/stop ranges"
    } else {
        ""
    };
    let place = document.place_of(&["apiVersion"]);
    out.add(
        &DEPRECATED_API,
        place,
        format!("cilium.io/v2alpha1 of {kind} is deprecated: {instead}{moot}"),
    );
}

/// What an object is, and the features of which it needs one.
fn needs(document: &Document) -> Option<(String, &'static [&'static str])> {
    let kind = document.kind.as_str();
    let class = |path: &[&str]| document.node.text_at(path);
    let features: &[&str] = match kind {
        "CiliumL2AnnouncementPolicy" => &["l2announcements.enabled"],
        "CiliumEgressGatewayPolicy" => &["egressGateway.enabled"],
        "CiliumLocalRedirectPolicy" => &["localRedirectPolicies.enabled", "localRedirectPolicy"],
        "Gateway" if class(&["spec", "gatewayClassName"]) == Some("cilium") => &["gatewayAPI.enabled"],
        "Ingress" if class(&["spec", "ingressClassName"]) == Some("cilium") => &["ingressController.enabled"],
        "CiliumClusterwideNetworkPolicy" if document.node.dig(&["spec", "nodeSelector"]).is_some() => {
            &["hostFirewall.enabled"]
        }
        "Service" => match class(&["spec", "loadBalancerClass"]) {
            Some("io.cilium/l2-announcer") => &["l2announcements.enabled"],
            Some("io.cilium/bgp-control-plane") => &["bgpControlPlane.enabled"],
            _ => return None,
        },
        kind if BGP.contains(&kind) => &["bgpControlPlane.enabled"],
        _ => return None,
    };
    Some((format!("{kind} {}", document.name), features))
}

fn label(document: &Document, out: &mut Findings) {
    const LABEL: &str = "cilium.io/policy-enforcement";
    for map in ["labels", "annotations"] {
        let found = document
            .node
            .dig(&["metadata", map])
            .and_then(|map: &Node| map.entry(LABEL));
        if let Some(entry) = found {
            out.add(
                &POLICY_LABEL,
                entry.place,
                format!("{LABEL} does not exist: Cilium reads no such {}", &map[..map.len() - 1]),
            );
        }
    }
}
